//! Writing a layer into a directory.

mod attributes;
mod create;
mod tree;

use std::{
    ffi::OsStr,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use davit_vocabulary::Digest;
use tar::{Entry, EntryType};

use crate::{
    ArchiveError,
    entries::for_each_entry,
    name::{EntryName, Whiteout},
    pipeline::{PlainStream, with_plain},
};

use attributes::Attributes;
use tree::Tree;

/// Where a layer goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The directory that gets the files.
    pub upper: PathBuf,
    /// The directories below it, the nearest first: folders that the layer takes for granted get their attributes.
    pub lower: Vec<PathBuf>,
    /// Whether whiteouts become overlayfs' own marks; else they remove what is there.
    pub is_overlay: bool,
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The digest of the plain archive: the layer's diff ID.
    pub diff_id: Digest,
    /// The bytes of the plain archive.
    pub size: u64,
}

/// Applies a layer, compressed or not. The caller compares [`Applied::diff_id`] with the one it was promised.
pub fn apply(layer: impl Read + Send, target: &Target) -> Result<Applied, ArchiveError> {
    with_plain(layer, |stream| {
        let mut tree = Tree::open(target)?;
        apply_entries(stream, &mut tree)?;
        tree.finish()?;
        stream.drain().map_err(ArchiveError::Read)?;
        let (diff_id, size) = stream.digest();
        Ok(Applied { diff_id, size })
    })
}

fn apply_entries(stream: &mut PlainStream, tree: &mut Tree) -> Result<(), ArchiveError> {
    for_each_entry(stream, ArchiveError::Read, |entry| {
        match EntryName::parse(&entry.path_bytes()) {
            // The root itself is not the layer's to change.
            None => Ok(()),
            Some(name) => apply_entry(entry, &name, tree),
        }
    })
}

fn apply_entry<R: Read>(entry: &mut Entry<'_, R>, name: &EntryName, tree: &mut Tree) -> Result<(), ArchiveError> {
    if entry.header().entry_type() == EntryType::XGlobalHeader || name.is_in_aufs_folder() {
        return Ok(());
    }
    check_bytes(&name.path())?;
    match name.whiteout() {
        Whiteout::Ignored => Ok(()),
        Whiteout::Invalid => Err(invalid(name, "whiteout without a name")),
        Whiteout::Opaque => tree.make_opaque(&name.folder),
        Whiteout::File(file) => {
            let hidden = EntryName {
                folder: name.folder.clone(),
                file,
            };
            let attributes = Attributes::read(entry, name)?;
            tree.hide(&hidden, &attributes)
        }
        Whiteout::None => {
            let attributes = Attributes::read(entry, name)?;
            create::entry(entry, name, &attributes, tree)
        }
    }
}

/// The kernel takes no zero byte in a path.
fn check_bytes(path: &Path) -> Result<(), ArchiveError> {
    match path.as_os_str().as_bytes().contains(&0) {
        true => Err(ArchiveError::Entry {
            name: path.display().to_string(),
            problem: "zero byte in a name".into(),
        }),
        false => Ok(()),
    }
}

fn invalid(name: &EntryName, problem: impl Into<String>) -> ArchiveError {
    ArchiveError::Entry {
        name: name.path().display().to_string(),
        problem: problem.into(),
    }
}

/// Names the entry and what was done to it in an I/O error.
fn write<E: Into<std::io::Error>>(action: &'static str, name: impl AsRef<OsStr>) -> impl FnOnce(E) -> ArchiveError {
    let name = Path::new(name.as_ref()).display().to_string();
    move |source| ArchiveError::Write {
        action,
        name,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests;
