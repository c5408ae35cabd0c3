//! Debian packages that building and testing need.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::workspace::run;

/// A package and a file that shows that it is there.
pub type Package = (&'static str, &'static str);

/// To build the programs.
pub const BUILD: &[Package] = &[
    ("gcc", "/usr/bin/gcc"),
    ("libc6-dev", "/usr/include/stdio.h"),
    ("libseccomp-dev", "/usr/include/seccomp.h"),
];

/// To run the engine, whose `top` asks ps, and to make an image.
pub const RUN: &[Package] = &[
    ("nftables", "/usr/sbin/nft"),
    ("busybox-static", "/bin/busybox"),
    ("procps", "/usr/bin/ps"),
];

/// To run the tests: tools that act as a user does, debootstrap, which fetches the peers, and what makes and starts the virtual machine.
pub const TEST: &[Package] = &[
    ("cpio", "/usr/bin/cpio"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("e2fsprogs", "/sbin/mke2fs"),
    ("iproute2", "/sbin/ip"),
    ("kmod", "/sbin/modprobe"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("tmux", "/usr/bin/tmux"),
    ("uidmap", "/usr/bin/newuidmap"),
    ("util-linux", "/usr/bin/setsid"),
];

/// To fetch and build a public suite.
pub const SUITES: &[Package] = &[("git", "/usr/bin/git")];

/// To install what PyPI carries.
pub const PIP: &[Package] = &[("python3-pip", "/usr/lib/python3/dist-packages/pip/__init__.py")];

/// What the virtual machine's Debian has beyond the minimum: systemd, the tools of its security modules, and what the tests call.
pub const GUEST: &[&str] = &[
    "apparmor",
    "busybox-static",
    "criu",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "jq",
    "kmod",
    "nftables",
    "procps",
    "secilc",
    "systemd",
    "systemd-sysv",
    "tmux",
    "uidmap",
];

/// Installs what is missing.
pub fn install(packages: &[Package]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("run as root, or install these packages first: {}", missing.join(" "));
    }
    eprintln!("installing {}", missing.join(" "));
    let apt = |args: &[&str]| {
        run(Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-qq")
            .args(args))
    };
    apt(&["update"])?;
    let mut install = vec!["install", "-y", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install).with_context(|| format!("could not install {}", missing.join(" ")))
}
