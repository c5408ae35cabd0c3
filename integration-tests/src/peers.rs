//! The real Docker, containerd and runc, in a root file system of their own.
//!
//! Debian's current builds are installed once with debootstrap into a cache folder outside the source tree (some two minutes,
//! 1.3 GB). A command enters that root in a mount namespace of its own, with this machine's `/dev /proc /run /sys /tmp`: a socket or
//! a file below `/run` or `/tmp` is seen on both sides.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{chdir, pivot_root},
};

use crate::{packages, sweep, workspace::run};

/// netavark is here because skopeo's dependency on any container network stack is one that debootstrap cannot resolve.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "ca-certificates",
    "containerd",
    "criu",
    "crun",
    "docker-cli",
    "docker-registry",
    "docker.io",
    "hyperfine",
    "iproute2",
    "iptables",
    "netavark",
    "nftables",
    "procps",
    "runc",
    "skopeo",
    "umoci",
];

/// Folders of this machine that a peer sees.
const SHARED: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// The peers' root; `DAVIT_PEERS` overrides.
pub fn folder() -> PathBuf {
    env::var_os("DAVIT_PEERS").map_or_else(|| PathBuf::from("/var/cache/davit/peers"), PathBuf::from)
}

/// Installs the peers where they are not yet.
pub fn set_up() -> Result<()> {
    let root = folder();
    let complete = root.join(".complete");
    if complete.exists() {
        return Ok(());
    }
    packages::install(packages::TEST)?;
    fs::create_dir_all(root.parent().unwrap_or(Path::new("/")))?;
    let lock = fs::File::create(root.with_extension("lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(());
    }
    eprintln!(
        "installing Docker, containerd and runc into {} (two minutes, once)",
        root.display()
    );
    // What an interrupted run left is of no use to debootstrap, which mounts /proc in there while it works.
    sweep::mounts_below(&root)
        .iter()
        .try_for_each(|mount| umount2(mount, MntFlags::MNT_DETACH))?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .arg("--variant=minbase")
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg("sid")
        .arg(&root)
        .arg(mirror()?);
    let log = fs::File::create(root.with_extension("log"))?;
    debootstrap.stdout(log.try_clone()?).stderr(log);
    run(&mut debootstrap).with_context(|| format!("see {}", root.with_extension("log").display()))?;
    fs::create_dir_all(root.join("old"))?;
    fs::write(complete, "")?;
    Ok(())
}

/// The mirror that this machine itself installs from.
pub fn mirror() -> Result<String> {
    let deb822 = fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
    let from_deb822 = deb822.lines().find_map(|line| line.strip_prefix("URIs:"));
    let list = fs::read_to_string("/etc/apt/sources.list").unwrap_or_default();
    let from_list = list.lines().find_map(|line| line.strip_prefix("deb "));
    let word = from_deb822
        .or(from_list)
        .and_then(|rest| rest.split_whitespace().find(|word| word.starts_with("http")));
    // On Ubuntu the machine's own mirror does not carry sid.
    Ok(word
        .filter(|word| word.contains("debian"))
        .unwrap_or("http://deb.debian.org/debian")
        .trim_end_matches('/')
        .to_owned())
}

/// A command that runs among the peers.
pub fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(xtask());
    command.arg("enter").arg(program);
    command
}

/// This crate's own program: tests stand beside it in cargo's target folder.
fn xtask() -> PathBuf {
    let this = env::current_exe().expect("/proc is mounted");
    let folder = this.parent().expect("a program lies in a folder");
    [folder.join("xtask"), folder.join("../xtask")]
        .into_iter()
        .find(|path| path.exists())
        .expect("cargo built xtask beside its tests")
}

/// Replaces this process by a program among the peers.
pub fn enter(program: &str, arguments: &[String]) -> Result<()> {
    let root = folder();
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(&root), &root, none, MsFlags::MS_BIND, none)?;
    for name in SHARED {
        mount(
            Some(&Path::new("/").join(name)),
            &root.join(name),
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )?;
    }
    chdir(&root)?;
    pivot_root(".", "old")?;
    umount2("/old", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    let error = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .exec();
    Err(error).with_context(|| format!("{program} among the peers"))
}
