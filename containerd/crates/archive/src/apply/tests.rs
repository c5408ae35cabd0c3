use std::{
    fs,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use flate2::{Compression as Level, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// A layer under construction.
struct Layer(Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, name: &str, mode: u32, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // Straight into the field: the crate's own setter refuses the names that a hostile archive has.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(EntryType::Regular, name, 0o4755, "", data)
    }

    fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, 0o1777, "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, 0o777, target, b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn target(dir: &TempDir, is_overlay: bool) -> Target {
    let upper = dir.path().join("upper");
    fs::create_dir_all(&upper).unwrap();
    Target {
        upper,
        lower: Vec::new(),
        is_overlay,
    }
}

fn apply_to(dir: &TempDir, layer: Layer) -> Result<Applied, ArchiveError> {
    apply(layer.bytes().as_slice(), &target(dir, true))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_of_every_kind_come_with_their_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .dir("tmp/")
        .file("tmp/tool", b"hello")
        .symlink("tmp/link", "/etc/passwd")
        .add(EntryType::Link, "tmp/same", 0o644, "tmp/tool", b"")
        .add(EntryType::Char, "tmp/null", 0o666, "", b"")
        .add(EntryType::Fifo, "tmp/pipe", 0o600, "", b"");
    apply_to(&dir, layer).unwrap();
    let stat = |name: &str| fs::symlink_metadata(dir.path().join("upper").join(name)).unwrap();
    let tool = stat("tmp/tool");
    assert_eq!(
        (tool.uid(), tool.gid(), tool.mode() & 0o7777, tool.mtime()),
        (7, 8, 0o4755, 1_000_000_000)
    );
    assert_eq!(tool.ino(), stat("tmp/same").ino());
    assert_eq!(
        (stat("tmp").mode() & 0o7777, stat("tmp").mtime()),
        (0o1777, 1_000_000_000)
    );
    assert_eq!(
        fs::read_link(dir.path().join("upper/tmp/link")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(stat("tmp/link").mtime(), 1_000_000_000);
    assert!(stat("tmp/null").file_type().is_char_device());
    assert_eq!(stat("tmp/null").rdev(), rustix::fs::makedev(1, 3));
    assert!(stat("tmp/pipe").file_type().is_fifo());
}

#[test]
fn the_diff_id_is_the_digest_of_the_plain_archive_whatever_the_compression() {
    let bytes = Layer::new().file("a", &[7; 100_000]).bytes();
    let expected = Applied {
        diff_id: Digest::sha256(Sha256::digest(&bytes).into()),
        size: bytes.len() as u64,
    };
    let zstd = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    let members = [gzip(&bytes[..999]), gzip(&bytes[999..])].concat();
    for compressed in [bytes.clone(), gzip(&bytes), members, zstd] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(apply(compressed.as_slice(), &target(&dir, true)).unwrap(), expected);
    }
}

#[test]
fn damaged_streams_are_errors() {
    let bytes = Layer::new().file("a", &[7; 100_000]).bytes();
    let packed = gzip(&bytes);
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let zstd = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    for (what, damaged) in [
        ("truncated tar", bytes[..5000].to_vec()),
        ("truncated gzip", packed[..packed.len() - 9].to_vec()),
        ("flipped gzip", flipped),
        ("truncated zstd", zstd[..zstd.len() / 2].to_vec()),
        ("no tar", b"this is no archive at all".repeat(100)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let refused = apply(damaged.as_slice(), &target(&dir, true));
        assert!(
            matches!(refused, Err(ArchiveError::Read(_) | ArchiveError::Entry { .. })),
            "{what}: {refused:?}"
        );
    }
}

#[test]
fn nothing_is_written_outside_the_target() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/kept"), "x").unwrap();
    let outside = dir.path().join("outside");
    let layer = Layer::new()
        .file("../../outside/dots", b"1")
        .file("/absolute", b"2")
        .symlink("up", "../outside")
        .dir("real")
        .symlink("in", "/real")
        .file("in/through", b"3")
        .symlink("final", "../outside/final")
        .file("final", b"4");
    apply_to(&dir, layer).unwrap();
    let upper = dir.path().join("upper");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "only what was there");
    assert_eq!(fs::read(upper.join("outside/dots")).unwrap(), b"1");
    assert_eq!(fs::read(upper.join("absolute")).unwrap(), b"2");
    assert_eq!(fs::read(upper.join("real/through")).unwrap(), b"3");
    assert_eq!(fs::read(upper.join("final")).unwrap(), b"4");
    // A link that leads out is cut off at the root, where it leads to nothing.
    let refused = apply_to(&dir, Layer::new().file("up/escaped", b"5"));
    assert!(refused.is_ok() || matches!(refused, Err(ArchiveError::Write { .. })));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    let absolute = outside.join("kept");
    let link = Layer::new().add(EntryType::Link, "stolen", 0o644, absolute.to_str().unwrap(), b"");
    assert!(apply_to(&dir, link).is_err());
}

#[test]
fn entries_that_no_layer_may_have_are_refused_by_name() {
    for (layer, problem) in [
        (Layer::new().file("a/.wh.", b""), "whiteout without a name"),
        (Layer::new().file("a/.wh...", b""), "whiteout without a name"),
        (Layer::new().symlink("l", ""), "symbolic link to nowhere"),
        (
            Layer::new().add(EntryType::Link, "l", 0o644, "..", b""),
            "hard link to the root",
        ),
        (
            Layer::new().add(EntryType::new(b'Q'), "odd", 0o644, "", b""),
            "entry type 0x51 is not supported",
        ),
        (
            Layer::new().pax(&[("GNU.sparse.major", b"1")]).file("s", b""),
            "sparse file in PAX form is not supported",
        ),
        (
            Layer::new().pax(&[("uid", b"4294967295")]).file("s", b""),
            "uid is not a number",
        ),
        (
            Layer::new().pax(&[("path", &[b'n'; 300])]).file("s", b""),
            "name longer than 255 bytes",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let refused = apply_to(&dir, layer).unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
}

#[test]
fn whiteouts_become_the_marks_of_overlayfs() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .file("etc/.wh.gone", b"")
        .file("var/.wh..wh..opq", b"")
        .file("x", b"")
        .file(".wh.x", b"");
    apply_to(&dir, layer).unwrap();
    let upper = dir.path().join("upper");
    let gone = fs::symlink_metadata(upper.join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 8];
    let length = rustix::fs::getxattr(upper.join("var"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert!(upper.join("x").is_file(), "what the layer itself brings stays");
}

#[test]
fn whiteouts_remove_what_lies_in_a_plain_directory() {
    let dir = tempfile::tempdir().unwrap();
    let plain = target(&dir, false);
    fs::create_dir_all(plain.upper.join("var/old/deep")).unwrap();
    fs::write(plain.upper.join("file"), "x").unwrap();
    let layer = Layer::new()
        .file("var/new/kept", b"")
        .file(".wh.file", b"")
        .file("var/.wh..wh..opq", b"");
    apply(layer.bytes().as_slice(), &plain).unwrap();
    assert!(!plain.upper.join("file").exists());
    assert!(!plain.upper.join("var/old").exists());
    assert!(plain.upper.join("var/new/kept").exists());
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .file("a", b"file")
        .dir("a")
        .file("a/b", b"in")
        .dir("c")
        .file("c/d", b"")
        .file("c", b"now");
    apply_to(&dir, layer).unwrap();
    assert_eq!(fs::read(dir.path().join("upper/a/b")).unwrap(), b"in");
    assert_eq!(fs::read(dir.path().join("upper/c")).unwrap(), b"now");
}

#[test]
fn folders_taken_for_granted_look_as_they_do_below() {
    let dir = tempfile::tempdir().unwrap();
    let lower = dir.path().join("lower");
    fs::create_dir_all(lower.join("srv/data")).unwrap();
    fs::set_permissions(lower.join("srv/data"), fs::Permissions::from_mode(0o711)).unwrap();
    let _ = symlink("elsewhere", lower.join("odd"));
    let mut target = target(&dir, true);
    target.lower = vec![lower];
    apply(
        Layer::new()
            .file("srv/data/f", b"")
            .file("new/f", b"")
            .bytes()
            .as_slice(),
        &target,
    )
    .unwrap();
    let mode = |name: &str| fs::metadata(target.upper.join(name)).unwrap().mode() & 0o7777;
    assert_eq!(mode("srv/data"), 0o711);
    assert_eq!(mode("new"), 0o755);
}

#[test]
fn blank_fields_are_zero() {
    let dir = tempfile::tempdir().unwrap();
    let mut layer = Layer::new();
    let mut header = Header::new_gnu();
    header.set_path("blank").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_size(0);
    header.set_cksum();
    layer.0.append(&header, std::io::empty()).unwrap();
    apply_to(&dir, layer).unwrap();
    let stat = fs::metadata(dir.path().join("upper/blank")).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777, stat.mtime()), (0, 0, 0));
}

#[test]
fn extended_attributes_and_times_come_from_the_extended_header() {
    let dir = tempfile::tempdir().unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("mtime", b"12.5"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
    ];
    apply_to(&dir, Layer::new().pax(&records).file("f", b"")).unwrap();
    let file = dir.path().join("upper/f");
    let mut value = [0; 64];
    assert_eq!(
        rustix::fs::getxattr(&file, "security.capability", &mut value).unwrap(),
        capability.len()
    );
    assert!(rustix::fs::getxattr(&file, "trusted.overlay.redirect", &mut value).is_err());
    let stat = fs::metadata(&file).unwrap();
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (12, 500_000_000));
}
