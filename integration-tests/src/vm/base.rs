//! What the machine boots, made once: Debian's kernel, an initial file system that finds the disks, and a Debian root.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use davit_integration_tests::{packages, peers, workspace::run};

/// Drivers of the disks and their file system, which Debian builds as modules.
const DRIVERS: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

/// The first process.
const INIT: &str = include_str!("init.sh");

/// The tests that want systemd.
const SERVICE: &str = "[Unit]\nAfter=basic.target dbus.socket\nWants=dbus.socket\n\
    [Service]\nType=oneshot\nExecStart=/vm/run systemd\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\n";

/// The folder of the finished parts.
#[derive(Debug)]
pub struct Base(PathBuf);

impl Base {
    /// The cache.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The image of the root file system.
    pub fn root(&self) -> PathBuf {
        self.0.join("root.disk")
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// The initial file system.
    pub fn initrd(&self) -> PathBuf {
        self.0.join("initrd")
    }
}

/// Makes what is missing or made from other parts than today's.
pub fn set_up() -> Result<Base> {
    let folder = peers::folder().with_file_name("vm");
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    let parts = format!("{}\n{}\n{INIT}{SERVICE}", release()?, packages::GUEST.join(" "));
    let complete = folder.join("complete");
    if fs::read_to_string(&complete).is_ok_and(|text| text == parts) {
        return Ok(Base(folder));
    }
    eprintln!(
        "making a Debian for the virtual machine in {} (two minutes, once)",
        folder.display()
    );
    fs::remove_dir_all(&folder)?;
    fs::create_dir_all(&folder)?;
    let root = folder.join("root");
    debian(&root, &folder.join("log"))?;
    let kernel = kernel(&root, &folder)?;
    initrd(&kernel, &folder)?;
    furnish(&root)?;
    disk_of(&root, &folder.join("root.disk"), 4096)?;
    fs::remove_dir_all(root)?;
    fs::write(complete, parts)?;
    Ok(Base(folder))
}

/// The release of Debian: this machine's, since the tests are linked against its C library.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release")?;
    let field = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.trim_matches('"').to_owned()))
    };
    match (field("ID="), field("VERSION_CODENAME=")) {
        (Some(id), Some(name)) if id == "debian" => Ok(name),
        _ => bail!("the virtual machine is made from Debian's packages, on a Debian: this machine is none"),
    }
}

fn debian(root: &Path, log: &Path) -> Result<()> {
    let log_file = fs::File::create(log)?;
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .arg("--variant=minbase")
        .arg(format!("--include={}", packages::GUEST.join(",")))
        .arg(release()?)
        .arg(root)
        .arg(peers::mirror()?);
    run(debootstrap.stdout(log_file.try_clone()?).stderr(log_file)).with_context(|| format!("see {}", log.display()))
}

/// Unpacks the kernel's package, which installed would make an initial file system of its own; returns the folder of its modules.
fn kernel(root: &Path, folder: &Path) -> Result<PathBuf> {
    let newest = "apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: *//p' | head -n 1";
    let download = format!("cd /tmp && apt-get -qq -o APT::Sandbox::User=root download $({newest})");
    run(Command::new("chroot").arg(root).args(["sh", "-c", &download]))?;
    let mut files = fs::read_dir(root.join("tmp"))?.flatten().map(|entry| entry.path());
    let package = files
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get left no package")?;
    // Debian's root has /lib as a link into /usr, where dpkg-deb would put a folder.
    let unpacked = folder.join("kernel");
    run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    fs::remove_file(package)?;
    let modules = only_entry(&unpacked.join("lib/modules"))?;
    let version = modules.file_name().context("a version")?.to_owned();
    let mut image = std::ffi::OsString::from("vmlinuz-");
    image.push(&version);
    fs::copy(unpacked.join("boot").join(image), folder.join("vmlinuz"))?;
    run(Command::new("depmod").arg("-b").arg(&unpacked).arg(&version))?;
    let place = root.join("usr/lib/modules");
    fs::create_dir_all(&place)?;
    run(Command::new("mv").arg(&modules).arg(&place))?;
    fs::remove_dir_all(unpacked)?;
    Ok(place.join(version))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    entries.next().with_context(|| format!("{folder:?} is empty"))
}

/// busybox, the drivers, and the script that mounts the disks.
fn initrd(modules: &Path, folder: &Path) -> Result<()> {
    let tree = folder.join("initial");
    for name in ["bin", "dev", "mnt", "proc", "sys"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy("/bin/busybox", tree.join("bin/busybox"))?;
    let mut order = String::new();
    for file in load_order(modules)? {
        let name = file
            .file_name()
            .context("a module has a name")?
            .to_string_lossy()
            .into_owned();
        fs::copy(&file, tree.join(&name))?;
        order.push_str(&name);
        order.push('\n');
    }
    fs::write(tree.join("order"), order)?;
    executable(&tree.join("init"), INIT)?;
    let pack = format!(
        "cd '{}' && find . | cpio --quiet -o -H newc | gzip -1 >'{}'",
        tree.display(),
        folder.join("initrd").display()
    );
    run(Command::new("sh").args(["-c", &pack]))?;
    fs::remove_dir_all(tree)?;
    Ok(())
}

/// The files of the drivers and of what they need, each after those that it needs.
fn load_order(modules: &Path) -> Result<Vec<PathBuf>> {
    let version = modules.file_name().context("a version")?;
    // …/usr/lib/modules/VERSION: modprobe wants what is above /lib.
    let base = modules.ancestors().nth(3).context("modules lie below usr/lib")?;
    let mut order = Vec::new();
    for driver in DRIVERS {
        let output = Command::new("modprobe")
            .arg("-d")
            .arg(base)
            .arg("-S")
            .arg(version)
            .args(["--show-depends", driver])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "modprobe {driver}: {error}");
        for line in String::from_utf8(output.stdout)?.lines() {
            let Some(file) = line.strip_prefix("insmod ").map(str::trim) else {
                continue;
            };
            if !order.contains(&PathBuf::from(file)) {
                order.push(PathBuf::from(file));
            }
        }
    }
    Ok(order)
}

/// What the guest needs beyond Debian's packages.
fn furnish(root: &Path) -> Result<()> {
    fs::create_dir_all(root.join("vm"))?;
    fs::write(root.join("etc/hostname"), "vm\n")?;
    let units = root.join("etc/systemd/system");
    fs::create_dir_all(units.join("vm-tests.target.wants"))?;
    fs::write(
        units.join("vm-tests.target"),
        "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n",
    )?;
    fs::write(units.join("vm-tests.service"), SERVICE)?;
    symlink(
        "../vm-tests.service",
        units.join("vm-tests.target.wants/vm-tests.service"),
    )?;
    Ok(())
}

/// Writes a script.
pub fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Makes an ext4 image of a folder, with some megabytes to spare.
pub fn disk_of(folder: &Path, disk: &Path, spare: u64) -> Result<()> {
    let output = Command::new("du").arg("-sm").arg(folder).output()?;
    let text = String::from_utf8(output.stdout)?;
    let used: u64 = text.split_whitespace().next().context("du printed nothing")?.parse()?;
    // Small files and the tables of the file system take more than their length.
    let size = used + used / 8 + spare;
    let _ = fs::remove_file(disk);
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-O", "^has_journal", "-d"])
        .arg(folder)
        .arg(disk)
        .arg(format!("{size}M"))
        .stdout(Stdio::null()))
}
