//! A criu that gets along with this kernel: the machine's own or, where that is too old, the peers'.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{peers, program};

/// The search path on which a working criu is found, and what it calls. `None`, with a word about it, where there is none.
///
/// The peers' criu needs a script to start it, for which `folder` is made.
///
/// # Panics
/// Where the folder cannot be made.
pub fn search_path(folder: &Path) -> Option<String> {
    fs::create_dir(folder).expect("the place is ours");
    let own = env::var("PATH").unwrap_or_default();
    let path = format!("{}:{own}:/usr/sbin:/sbin", folder.display());
    if works(&path, None) {
        return Some(path);
    }
    let peers = peers::folder();
    if peers.join("usr/sbin/criu").exists() {
        borrow(&peers, folder);
        if works(&path, None) {
            return Some(path);
        }
    }
    skipped!(
        "no criu works on this kernel (criu check), neither this machine's nor one in {}",
        peers.display()
    );
    None
}

/// Whether the criu of a search path, with this kernel, works or has a feature.
pub fn works(path: &str, feature: Option<&str>) -> bool {
    let mut check = Command::new("criu");
    check.arg("check").env("PATH", path);
    check.args(feature.into_iter().flat_map(|feature| ["--feature", feature]));
    succeeds(check)
}

/// Whether the peers' criu works among them, with a word where it does not.
pub fn works_among_peers() -> bool {
    let mut check = peers::command("criu");
    check.arg("check");
    let works = succeeds(check);
    if !works {
        skipped!("the peers' criu does not work on this kernel (criu check)");
    }
    works
}

fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The peers' criu is linked to a newer C library than this machine's.
fn borrow(peers: &Path, folder: &Path) {
    let peers = peers.display();
    let script = format!(
        "#!/bin/sh\nexec {peers}/lib64/ld-linux-x86-64.so.2 --library-path \
         {peers}/lib/x86_64-linux-gnu:{peers}/usr/lib/x86_64-linux-gnu {peers}/usr/sbin/criu \"$@\"\n"
    );
    program::write(folder.join("criu"), &script);
}
