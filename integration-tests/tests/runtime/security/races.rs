//! CVE-2021-30465 and CVE-2024-45310: a volume in which another container swaps a folder for a link while mounts are made.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::Bundle;

/// How many containers are started against the attacker; `cargo xtask soak` asks for 10,000.
fn rounds() -> usize {
    env::var("DAVIT_RACE_ROUNDS").map_or(60, |count| count.parse().expect("a number"))
}

/// Runs `check` while `folder` and `link` change their names all the time.
fn while_swapping(folder: &Path, link: &Path, check: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Refused for a moment where one of them is being mounted on.
                let _ = renameat_with(CWD, folder, CWD, link, RenameFlags::EXCHANGE);
            }
        });
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = finished {
            std::panic::resume_unwind(panic);
        }
    });
}

/// A bundle with a volume, in which `folder` is a directory and `link` leads to a directory of the host.
fn attacked() -> (Bundle, String) {
    let bundle = Bundle::new();
    let (volume, outside) = (bundle.file("volume"), bundle.file("outside"));
    fs::create_dir_all(format!("{volume}/folder")).expect("the bundle is ours");
    fs::create_dir(&outside).expect("the bundle is ours");
    symlink(&outside, format!("{volume}/link")).expect("the bundle is ours");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/volume", "source": volume, "options": ["rbind"]}));
    });
    (bundle, outside)
}

#[test]
fn a_swapped_destination_never_leads_a_mount_out_of_the_root() {
    let (bundle, outside) = attacked();
    let volume = bundle.file("volume");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/volume/folder", "type": "tmpfs", "source": "marked"}));
        config["process"]["args"] = json!(["grep", "-c", "^marked ", "/proc/mounts"]);
    });
    let volume = Path::new(&volume);
    while_swapping(&volume.join("folder"), &volume.join("link"), || {
        let mut ran = 0;
        for round in 0..rounds() {
            // Wherever the link led meanwhile: the mount is to be seen inside, so it is not outside.
            let finished = bundle.run_as_is();
            ran += usize::from(finished.code == 0);
            assert!(finished.code != 0 || finished.stdout == "1\n", "{round}: {finished:?}");
            assert!(
                finished.code == 0 || !finished.stdout.contains('0'),
                "{round}: {finished:?}"
            );
            assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0, "{round}");
        }
        assert!(ran > 0, "nothing was shown: no container came up");
    });
}

#[test]
fn a_swapped_parent_never_leads_to_a_file_or_folder_on_the_host() {
    let (bundle, outside) = attacked();
    let volume = bundle.file("volume");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/volume/folder/a/b", "type": "tmpfs", "source": "tmpfs"}));
        mounts.push(json!({"destination": "/volume/folder/file", "source": "/etc/hostname", "options": ["bind"]}));
        config["process"]["args"] = json!(["true"]);
        config["process"]["cwd"] = json!("/volume/folder/cwd");
    });
    let volume = Path::new(&volume);
    while_swapping(&volume.join("folder"), &volume.join("link"), || {
        let mut ran = 0;
        for round in 0..rounds() {
            ran += usize::from(bundle.run_as_is().code == 0);
            assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0, "{round}");
            // What was made must be made anew the next time.
            for name in ["folder", "link"] {
                for made in ["a/b", "a", "cwd"] {
                    let _ = fs::remove_dir(volume.join(name).join(made));
                }
                let _ = fs::remove_file(volume.join(name).join("file"));
            }
        }
        assert!(ran > 0, "nothing was shown: no container came up");
    });
}
