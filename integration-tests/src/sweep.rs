//! Leaving nothing behind: processes, mounts, cgroups, bridges, rules, files of one scratch folder.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::command::Run;

/// Ends and removes all that belongs to `folder`.
pub fn everything(folder: &Path, bridge: &str, started: &[u32]) {
    let mut cgroups = BTreeSet::new();
    // A dying shim or daemon may start one more process, so ask again until none is left.
    for _ in 0..100 {
        let doomed = processes_of(folder, started);
        if doomed.is_empty() {
            break;
        }
        for pid in doomed {
            cgroups.extend(cgroups_of(pid));
            // A process may have ended by itself meanwhile; its number is not reused within these milliseconds.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        reap(started);
        sleep(Duration::from_millis(20));
    }
    for mount in mounts_below(folder) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    // A real runc that was killed while it made a container leaves cgroups without a process; their ids end in our name.
    cgroups.extend(cgroups_named_after(folder));
    cgroups.iter().rev().for_each(|path| remove_cgroup(path));
    if Path::new("/sys/class/net").join(bridge).exists() {
        std::process::Command::new("ip")
            .args(["link", "delete", bridge])
            .finish();
    }
    remove_tables(bridge);
    // What could not be unmounted may be the machine's own, seen through a bind.
    if mounts_below(folder).is_empty() {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Every process that was started, that names the folder in its arguments or works in it, and all their descendants.
pub fn processes_of(folder: &Path, started: &[u32]) -> BTreeSet<u32> {
    let this = std::process::id();
    let mut found: BTreeSet<u32> = started.iter().copied().filter(|pid| is_alive(*pid)).collect();
    found.extend(all_processes().filter(|pid| *pid != this && mentions(*pid, folder)));
    let mut unseen: Vec<u32> = found.iter().copied().collect();
    while let Some(pid) = unseen.pop() {
        unseen.extend(
            children_of(pid)
                .filter(|child| found.insert(*child))
                .collect::<Vec<_>>(),
        );
    }
    found
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn mentions(pid: u32, folder: &Path) -> bool {
    let inside = |path: PathBuf| path.starts_with(folder);
    if fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(inside) {
        return true;
    }
    let Ok(arguments) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let folder = folder.as_os_str().as_bytes();
    // The byte after the path must end it: /tmp/dvt1 is no part of /tmp/dvt12.
    arguments
        .windows(folder.len() + 1)
        .any(|window| window.starts_with(folder) && !window[folder.len()].is_ascii_digit())
}

fn children_of(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect::<Vec<_>>()
    })
}

/// Collects the ended children of this process, or they would be seen as zombies for ever.
fn reap(started: &[u32]) {
    use nix::sys::wait::{WaitPidFlag, waitpid};
    for pid in started {
        let _ = waitpid(Pid::from_raw(*pid as i32), Some(WaitPidFlag::WNOHANG));
    }
}

/// The cgroups of a process that are not those of this one, as folders, in every hierarchy.
fn cgroups_of(pid: u32) -> Vec<PathBuf> {
    let read = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let ours = read("self");
    let theirs = read(&pid.to_string());
    theirs
        .lines()
        .filter(|line| !ours.lines().any(|ours| ours == *line))
        .filter_map(cgroup_folder)
        .collect()
}

/// `4:memory:/a/b` → `/sys/fs/cgroup/memory/a/b`; `0::/a` → below the unified mount.
fn cgroup_folder(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let path = path.trim_start_matches('/');
    if path.is_empty() || path.starts_with("..") {
        return None;
    }
    let top = Path::new("/sys/fs/cgroup");
    let mount = match controllers {
        "" if top.join("unified").exists() => top.join("unified"),
        "" => top.to_owned(),
        named => top.join(named.trim_start_matches("name=")),
    };
    Some(mount.join(path))
}

/// The top cgroups of a moment; dropped, it removes those that came since and are empty.
///
/// Runtimes leave the parent that their containers share, as runc does. It cannot go with one test: others may be using it.
#[derive(Debug)]
pub struct TopCgroups(BTreeSet<PathBuf>);

impl TopCgroups {
    /// What there is now.
    pub fn now() -> Self {
        Self(top_cgroups())
    }
}

impl Drop for TopCgroups {
    fn drop(&mut self) {
        // Removing a cgroup that has a process or a child fails, so nothing in use is lost.
        top_cgroups()
            .difference(&self.0)
            .for_each(|path| drop(fs::remove_dir(path)));
    }
}

/// The folders below each hierarchy's root, and below the root where that is a hierarchy itself (pure v2).
fn top_cgroups() -> BTreeSet<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let below = folders(top);
    below
        .iter()
        .flat_map(|hierarchy| folders(hierarchy))
        .chain(below.clone())
        .collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Cgroups at most three levels down whose name ends in `-` and the folder's.
pub fn cgroups_named_after(folder: &Path) -> Vec<PathBuf> {
    let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
        return Vec::new();
    };
    cgroups_that_end_in(&format!("-{name}"), Path::new("/sys/fs/cgroup"), 3)
}

fn cgroups_that_end_in(suffix: &str, top: &Path, depth: usize) -> Vec<PathBuf> {
    folders(top)
        .into_iter()
        .flat_map(|path| match path.to_string_lossy().ends_with(suffix) {
            true => vec![path],
            false if depth > 1 => cgroups_that_end_in(suffix, &path, depth - 1),
            false => Vec::new(),
        })
        .collect()
}

/// Removes a cgroup, what is below it, and the parents that are empty then.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
    if let Some(parent) = path.parent().filter(|parent| *parent != Path::new("/sys/fs/cgroup")) {
        let _ = fs::remove_dir(parent);
    }
}

/// Mount points below the folder, deepest and latest first.
pub fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> = points
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect();
    points.reverse();
    points
}

fn remove_tables(bridge: &str) {
    let list = std::process::Command::new("nft")
        .args(["list", "tables"])
        .finish()
        .stdout;
    for line in list
        .lines()
        .filter(|line| line.split('-').chain(line.split('_')).any(|word| word == bridge))
    {
        let words = line.split_whitespace().skip(1);
        std::process::Command::new("nft")
            .args(["delete", "table"])
            .args(words)
            .finish();
    }
}
