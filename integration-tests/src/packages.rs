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

/// To run the tests: tools that act as a user does, and debootstrap, which fetches the peers.
pub const TEST: &[Package] = &[
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("iproute2", "/sbin/ip"),
    ("tmux", "/usr/bin/tmux"),
    ("util-linux", "/usr/bin/setsid"),
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
