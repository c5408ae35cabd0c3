//! Where the pages of a container's memory go: to a page server, to a reader who comes for them later, or nowhere
//! again because somebody has them already.

use std::{
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use davit_integration_tests::wait;
use rustix::fs::{OFlags, fcntl_setfl};

use super::{COUNTER, log_of, rig::Rig};

/// Less than what a program has in memory that runs [`REMEMBERING`].
const MEMORY: u64 = 2 << 20;
/// So many things are to be remembered.
const THINGS: u64 = 40_000;
/// Counts, and says how much it has not forgotten. Each time most of the memory changes and stays where it is.
const REMEMBERING: &str = r#"exec awk 'BEGIN {
    for (;;) {
        known = 0
        for (thing = 0; thing < 40000; thing++) { known += (memory[thing] == count); memory[thing] = count + 1 }
        count++
        print known > "/memory"; close("/memory")
        print count > "/count"; close("/count")
        system("sleep 0.02; while [ -e /quiet ]; do touch /waiting; sleep 0.02; done")
    }
}'"#;
const PORT: &str = "4000";

impl Rig {
    /// An address of the loopback device that no other test uses.
    fn loopback(&self) -> String {
        let number: u16 = self.bundle.id().trim_start_matches("dvt").parse().expect("a number");
        format!("127.77.{}.{}", number / 256 + 1, number % 256)
    }

    /// Starts criu itself, as the one on the other side would, and returns when it listens.
    fn criu(&self, args: &[&str]) -> Child {
        let log = self.bundle.file("criu.log");
        let mut command = Command::new("criu");
        command
            .args(args)
            .args(["--status-fd", "1", "-o", &log])
            .env("PATH", &self.path);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = self.bundle.spawn(&mut command);
        let mut told = [1];
        let stdout = child.stdout.as_mut().expect("a pipe");
        let listens = stdout.read_exact(&mut told);
        assert!(listens.is_ok(), "{}", fs::read_to_string(log).unwrap_or_default());
        child
    }

    /// Bytes of memory in a folder's images, as the disk has them.
    fn pages(&self, folder: &str) -> u64 {
        self.page_files(folder)
            .iter()
            .map(|path| fs::metadata(path).expect("it is there").blocks() * 512)
            .sum()
    }

    fn page_files(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.bundle.file(folder)).expect("a folder").flatten();
        let is_pages = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("pages-"))
        };
        entries.map(|entry| entry.path()).filter(is_pages).collect()
    }

    /// Starts a checkpoint that keeps the pages until they are asked for, and returns when that can be done.
    fn offers_pages(&self) -> Child {
        let (images, server) = (self.bundle.file("images"), format!("{}:{PORT}", self.loopback()));
        let mut args = vec![
            "checkpoint",
            "--lazy-pages",
            "--page-server",
            &server,
            "--image-path",
            &images,
        ];
        args.extend(self.network_lock);
        let mut checkpoint = self.bundle.spawn(&mut self.with_status(&args));
        let status = checkpoint.stdout.as_mut().expect("a pipe");
        fcntl_setfl(&*status, OFlags::NONBLOCK).expect("a pipe");
        let mut told = Vec::new();
        // It is said, and then nobody holds the pipe any more.
        wait::until_true("pages can be fetched", 30, || status.read_to_end(&mut told).is_ok());
        assert_eq!(told, [0], "{}", log_of(self));
        assert_eq!(checkpoint.try_wait().expect("a child"), None);
        assert!(self.pages("images") < MEMORY);
        checkpoint
    }

    /// Stops it where no file is open, none changes, and it does not wait for a child of vfork(2), in which criu cannot
    /// stop it: until [`Rig::remembers`] goes on.
    fn is_quiet(&self) {
        fs::write(self.bundle.rootfs().join("quiet"), "").expect("the rootfs is ours");
        let waiting = self.bundle.rootfs().join("waiting");
        let _ = fs::remove_file(&waiting);
        wait::until_true("it is quiet", 30, || waiting.exists());
    }

    fn remembers(&self) {
        let _ = fs::remove_file(self.bundle.rootfs().join("quiet"));
        self.counts_on();
        assert_eq!(self.number("memory"), THINGS);
    }
}

/// criu wants a pipe that is larger than others may have.
fn may_widen_pipes() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mine = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .expect("capabilities");
    u64::from_str_radix(mine.trim(), 16).expect("a mask") & 1 << 24 != 0
}

#[track_caller]
fn ends_well(mut child: Child, rig: &Rig) {
    let status = wait::until("it ends", 30, || child.try_wait().expect("a child"));
    assert!(status.success(), "{}", log_of(rig));
}

#[test]
fn pages_go_to_a_page_server_and_the_rest_into_the_image() {
    let Some(rig) = Rig::new() else { return };
    rig.run(REMEMBERING);
    rig.remembers();
    let (pages, address) = (rig.bundle.file("pages"), rig.loopback());
    fs::create_dir(&pages).expect("the bundle is ours");
    rig.is_quiet();
    let server = rig.criu(&["page-server", "-D", &pages, "--address", &address, "--port", PORT]);
    rig.checkpoint(&["--page-server", &format!("{address}:{PORT}")]).ok();
    ends_well(server, &rig);
    rig.is_gone();
    assert!(rig.pages("pages") >= MEMORY);
    assert_eq!(rig.page_files("images"), Vec::<PathBuf>::new());

    // Together they are the container.
    for entry in fs::read_dir(&pages).expect("a folder").flatten() {
        let to = Path::new(&rig.bundle.file("images")).join(entry.file_name());
        fs::rename(entry.path(), to).expect("the bundle is ours");
    }
    rig.restore(&[]).ok();
    rig.remembers();
}

#[test]
fn memory_stays_behind_until_it_is_used_and_a_descriptor_tells_when_it_can_be_fetched() {
    let (Some(old), Some(new)) = (Rig::new(), Rig::new()) else {
        return;
    };
    if !old.criu_has(Some("uffd")) {
        davit_integration_tests::skipped!("this kernel has no userfaultfd for criu");
        return;
    }
    if !may_widen_pipes() {
        davit_integration_tests::skipped!("without CAP_SYS_RESOURCE criu cannot send pages that are asked for");
        return;
    }
    old.run(REMEMBERING);
    old.remembers();
    old.is_quiet();
    let checkpoint = old.offers_pages();
    let at = old.number("count");
    let (images, address) = (old.bundle.file("images"), old.loopback());
    let fetcher = old.criu(&[
        "lazy-pages",
        "-D",
        &images,
        "--page-server",
        "--address",
        &address,
        "--port",
        PORT,
    ]);
    let (bundle, id) = (new.bundle.path(), new.bundle.id());
    let mut args = vec![
        "restore",
        "--detach",
        "--lazy-pages",
        "--image-path",
        &images,
        "--bundle",
        &bundle,
    ];
    args.extend(new.network_lock);
    args.push(id);
    new.runtime(&args).ok();
    wait::until_true("it counts on", 20, || new.number("count") > at);
    // What is not asked for is fetched in the end, and then nobody is needed on the other side.
    ends_well(checkpoint, &old);
    ends_well(fetcher, &old);
    old.is_gone();
    new.remembers();
}

#[test]
fn a_container_runs_on_when_a_checkpoint_is_killed_whose_pages_nobody_came_for() {
    let Some(rig) = Rig::new() else { return };
    if !rig.criu_has(Some("uffd")) {
        davit_integration_tests::skipped!("this kernel has no userfaultfd for criu");
        return;
    }
    rig.run(REMEMBERING);
    rig.remembers();
    rig.is_quiet();
    let mut checkpoint = rig.offers_pages();
    checkpoint.kill().expect("it waits for a reader");
    checkpoint.wait().expect("a child");
    // Without the runtime there is no criu, and without criu the container runs on.
    rig.remembers();
}

#[test]
fn memory_is_taken_ahead_where_the_kernel_tracks_it() {
    let Some(rig) = Rig::new() else { return };
    if !rig.criu_has(Some("mem_dirty_track")) {
        davit_integration_tests::skipped!("this kernel does not track dirty memory (CONFIG_MEM_SOFT_DIRTY)");
        rig.run(COUNTER);
        rig.checkpoint(&["--pre-dump"])
            .code_is(1)
            .says("criu is missing features: [MemTrack]");
        rig.counts_on();
        return;
    }
    rig.run(REMEMBERING);
    rig.remembers();
    let ahead = rig.bundle.file("ahead");
    let mut args = vec!["checkpoint", "--pre-dump", "--image-path", &ahead, rig.bundle.id()];
    args.splice(1..1, rig.network_lock.iter().copied());
    rig.is_quiet();
    rig.runtime(&args).ok();
    rig.remembers();
    rig.is_quiet();
    // Most of the memory has changed by now.
    let later = ["--parent-path", "../ahead"];
    rig.checkpoint(&[&["--leave-running"], &later[..]].concat()).ok();
    assert!(Path::new(&rig.bundle.file("images/parent")).exists());
    let before = rig.pages("ahead");
    assert!(before >= MEMORY);
    rig.remembers();
    rig.is_quiet();
    rig.checkpoint(&[&["--auto-dedup"], &later[..]].concat()).ok();
    let left = rig.pages("ahead");
    assert!(left < before, "{left} bytes are left, though the later image has them");
    rig.restore(&[]).ok();
    rig.remembers();
}

#[test]
fn pages_that_are_restored_are_dropped_from_the_image_where_that_is_asked_for() {
    let Some(rig) = Rig::new() else { return };
    rig.run(REMEMBERING);
    rig.remembers();
    rig.is_quiet();
    rig.checkpoint(&[]).ok();
    rig.restore(&[]).ok();
    rig.remembers();
    assert!(rig.pages("images") >= MEMORY);
    rig.runtime(&["delete", "--force", rig.bundle.id()]).ok();
    rig.restore(&["--auto-dedup"]).ok();
    rig.remembers();
    assert!(
        rig.pages("images") < MEMORY / 4,
        "{} bytes are left",
        rig.pages("images")
    );
}
