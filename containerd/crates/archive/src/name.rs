//! Names in an archive, made plain before the kernel sees them.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// An entry's name: a path below the root without `.` and `..`, split at its last part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryName {
    /// The folder, relative to the root; empty for the root itself.
    pub folder: PathBuf,
    /// The last part: never empty, `.` or `..`, and without `/`.
    pub file: OsString,
}

/// What an entry says by its name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// Nothing: an ordinary file.
    None,
    /// The file of this name, in lower layers, is gone.
    File(OsString),
    /// All that lower layers have in this folder is gone.
    Opaque,
    /// A note of aufs, without meaning.
    Ignored,
    /// A whiteout of nothing, of `.` or of `..`.
    Invalid,
}

impl EntryName {
    /// Parses a raw name; `None` where it names the root. `..` at the root stays at the root.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let file = parts.pop()?;
        let folder: PathBuf = parts.into_iter().map(OsStr::from_bytes).collect();
        Some(Self {
            folder,
            file: OsStr::from_bytes(file).to_owned(),
        })
    }

    /// The whole path, relative to the root.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.file)
    }

    /// What the name says.
    pub fn whiteout(&self) -> Whiteout {
        let file = self.file.as_bytes();
        if file == OPAQUE {
            return Whiteout::Opaque;
        }
        if file.starts_with(AUFS_PREFIX) {
            return Whiteout::Ignored;
        }
        match file.strip_prefix(WHITEOUT) {
            None => Whiteout::None,
            Some(b"" | b"." | b"..") => Whiteout::Invalid,
            Some(name) => Whiteout::File(OsStr::from_bytes(name).to_owned()),
        }
    }

    /// Whether the folder is an aufs note (`.wh..wh.plnk/…`).
    pub fn is_in_aufs_folder(&self) -> bool {
        Path::new(&self.folder)
            .iter()
            .next()
            .is_some_and(|first| first.as_bytes().starts_with(AUFS_PREFIX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(raw: &str) -> Option<(String, String)> {
        let name = EntryName::parse(raw.as_bytes())?;
        Some((name.folder.to_str().unwrap().into(), name.file.to_str().unwrap().into()))
    }

    #[test]
    fn names_are_made_plain() {
        for root in ["", "/", "./", "..", "../../", "a/.."] {
            assert_eq!(parse(root), None, "{root}");
        }
        for (raw, folder, file) in [
            ("a", "", "a"),
            ("./a/b/", "a", "b"),
            ("/etc/passwd", "etc", "passwd"),
            ("../../etc/shadow", "etc", "shadow"),
            ("a/../../b//c", "b", "c"),
        ] {
            assert_eq!(parse(raw), Some((folder.into(), file.into())), "{raw}");
        }
    }

    #[test]
    fn whiteouts_are_recognised() {
        let whiteout = |raw: &str| EntryName::parse(raw.as_bytes()).unwrap().whiteout();
        assert_eq!(whiteout("a/.wh.b"), Whiteout::File("b".into()));
        assert_eq!(whiteout("a/.wh..wh..opq"), Whiteout::Opaque);
        assert_eq!(whiteout(".wh..wh.aufs"), Whiteout::Ignored);
        assert_eq!(whiteout("a/.wh."), Whiteout::Invalid);
        assert_eq!(whiteout("a/.wh..."), Whiteout::Invalid);
        assert_eq!(whiteout("a/x.wh.b"), Whiteout::None);
        assert!(EntryName::parse(b".wh..wh.plnk/1").unwrap().is_in_aufs_folder());
    }

    proptest! {
        #[test]
        fn a_plain_name_never_leaves_the_root(raw in "[a./]{0,24}") {
            if let Some(name) = EntryName::parse(raw.as_bytes()) {
                let path = name.path();
                prop_assert!(path.is_relative());
                prop_assert!(path.iter().all(|part| part != ".." && part != "." && !part.is_empty()));
            }
        }
    }
}
