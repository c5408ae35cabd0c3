//! Disk usage of a directory tree.

use std::{collections::HashSet, fs, io, os::unix::fs::MetadataExt, path::Path};

use davit_metadata::SnapshotUsage;

/// Bytes and inodes below `root`, itself included; a file with several names counts once.
///
/// Files that disappear meanwhile are skipped: a snapshot in use changes while it is counted.
pub(crate) fn usage(root: &Path) -> io::Result<SnapshotUsage> {
    let mut seen = HashSet::new();
    let mut usage = SnapshotUsage::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        count(&fs::symlink_metadata(&folder)?, &mut seen, &mut usage);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => count(&metadata, &mut seen, &mut usage),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(usage)
}

fn count(metadata: &fs::Metadata, seen: &mut HashSet<(u64, u64)>, usage: &mut SnapshotUsage) {
    let has_names = metadata.nlink() > 1 && !metadata.is_dir();
    if has_names && !seen.insert((metadata.dev(), metadata.ino())) {
        return;
    }
    usage.size += metadata.blocks() * 512;
    usage.inodes += 1;
}
