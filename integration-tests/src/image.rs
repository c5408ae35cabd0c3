//! Images made on the spot: one of busybox, and one of a whole Debian with nginx.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{peers, program, workspace::run};

/// Makes a root file system from Debian's static busybox: every applet by name, the folders and files that programs expect.
pub fn busybox_root(folder: &Path) -> Result<()> {
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var"] {
        fs::create_dir_all(folder.join(name))?;
    }
    let busybox = folder.join("bin/busybox");
    program::copy("/bin/busybox", &busybox).context("busybox-static is not installed")?;
    fs::set_permissions(folder.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let applets = Command::new("/bin/busybox").arg("--list").output()?;
    for applet in String::from_utf8_lossy(&applets.stdout)
        .lines()
        .filter(|applet| *applet != "busybox")
    {
        let _ = fs::remove_file(folder.join("bin").join(applet));
        symlink("busybox", folder.join("bin").join(applet))?;
    }
    symlink("bin", folder.join("sbin"))?;
    symlink("../bin", folder.join("usr/bin"))?;
    fs::write(
        folder.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )?;
    fs::write(
        folder.join("etc/group"),
        "root:x:0:\nusers:x:100:nobody\nnogroup:x:65534:\n",
    )?;
    Ok(())
}

/// The busybox root as a tar archive at `path`, for `docker import`.
pub fn busybox_tar(path: &Path) -> Result<()> {
    let root = path.with_extension("root");
    busybox_root(&root)?;
    run(Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(path)
        .arg("."))?;
    fs::remove_dir_all(root)?;
    Ok(())
}

/// A docker-archive of `busybox:latest` with one layer, for `docker load` and `ctr images import`.
pub fn busybox_archive(path: &Path) -> Result<()> {
    let layer = path.with_extension("layer");
    busybox_tar(&layer)?;
    archive(&layer, "busybox:latest", path)?;
    fs::remove_file(layer)?;
    Ok(())
}

/// A docker-archive at `path` of an image with this layer alone.
pub fn archive(layer: &Path, name: &str, path: &Path) -> Result<()> {
    let folder = path.with_extension("archive");
    fs::create_dir_all(&folder)?;
    if fs::hard_link(layer, folder.join("layer.tar")).is_err() {
        fs::copy(layer, folder.join("layer.tar"))?;
    }
    let sum = Command::new("sha256sum").arg(layer).output()?;
    let digest = String::from_utf8(sum.stdout)?;
    let digest = digest.split_whitespace().next().context("sha256sum printed nothing")?;
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "one layer"}],
    });
    fs::write(folder.join("config.json"), config.to_string())?;
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    let files = ["manifest.json", "config.json", "layer.tar"];
    run(Command::new("tar")
        .arg("-C")
        .arg(&folder)
        .arg("-cf")
        .arg(path)
        .args(files))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// A root file system of Debian with nginx, as a tar archive in the cache; made once, by debootstrap.
pub fn debian_nginx_tar() -> Result<PathBuf> {
    let path = peers::folder().with_file_name("debian-nginx.tar");
    let lock = fs::File::create(path.with_extension("lock"))?;
    lock.lock()?;
    if path.exists() {
        return Ok(path);
    }
    let root = path.with_extension("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let log = fs::File::create(path.with_extension("log"))?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", "--include=nginx-light,curl", "stable"])
        .arg(&root)
        .arg(peers::mirror()?);
    run(debootstrap.stdout(log.try_clone()?).stderr(log))?;
    let fresh = path.with_extension("fresh");
    run(Command::new("tar")
        .arg("-C")
        .arg(&root)
        .args(["--exclude=./var/cache/apt/*", "-cf"])
        .arg(&fresh)
        .arg("."))?;
    fs::remove_dir_all(root)?;
    fs::rename(fresh, &path)?;
    Ok(path)
}

/// The OCI name of this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
