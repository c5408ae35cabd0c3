//! fstab-like mount options, sorted by what they act on.

use davit_sys::mount_attr::{
    ATIME, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, PRIVATE, RDONLY, SHARED, SLAVE,
    STRICTATIME, UNBINDABLE,
};

/// What the options of one mount ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether it is a bind, and then whether of the whole tree.
    pub bind: Option<Tree>,
    /// Attributes of the mount itself.
    pub attr: MountAttr,
    /// Attributes of it and all below it (`rro` and the like).
    pub recursive_attr: MountAttr,
    /// Changes of propagation, in order: the flag, and whether for the whole tree.
    pub propagation: Vec<(u64, Tree)>,
    /// Flags of the file system itself.
    pub flags: Vec<&'static str>,
    /// Whether a tmpfs begins with what it covers.
    pub copy_up: bool,
    /// What only the file system understands: `size=64k`, `gid=5`.
    pub data: Vec<String>,
}

/// Whether an operation is on one mount or on all below it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Just the one.
    Single,
    /// It and all below.
    Whole,
}

/// An option that config.json may contain and that is not built yet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("mount option {0:?} is not supported by davit-runtime yet")]
pub struct UnsupportedOption(pub String);

impl MountOptions {
    /// Sorts options; what is no known name is data for the file system.
    pub fn parse(options: &[String]) -> Result<Self, UnsupportedOption> {
        let mut parsed = MountOptions::default();
        for option in options {
            parsed.add(option)?;
        }
        Ok(parsed)
    }

    /// Whether the mount itself is to be read-only.
    pub fn read_only(&self) -> bool {
        self.attr.set & RDONLY != 0
    }

    fn add(&mut self, option: &str) -> Result<(), UnsupportedOption> {
        match option {
            "bind" => self.bind = self.bind.or(Some(Tree::Single)),
            "rbind" => self.bind = Some(Tree::Whole),
            "tmpcopyup" => self.copy_up = true,
            "remount" | "idmap" | "ridmap" => return Err(UnsupportedOption(option.into())),
            "defaults" | "silent" | "loud" | "mand" | "nomand" => {}
            _ if self.add_propagation(option) || self.add_flag(option) => {}
            _ => match attribute(option) {
                Some(change) => apply(&mut self.attr, change),
                None => match option.strip_prefix('r').and_then(attribute) {
                    Some(change) => apply(&mut self.recursive_attr, change),
                    None => self.data.push(option.into()),
                },
            },
        }
        Ok(())
    }

    fn add_propagation(&mut self, option: &str) -> bool {
        let (flag, tree) = match option {
            "private" => (PRIVATE, Tree::Single),
            "rprivate" => (PRIVATE, Tree::Whole),
            "slave" => (SLAVE, Tree::Single),
            "rslave" => (SLAVE, Tree::Whole),
            "shared" => (SHARED, Tree::Single),
            "rshared" => (SHARED, Tree::Whole),
            "unbindable" => (UNBINDABLE, Tree::Single),
            "runbindable" => (UNBINDABLE, Tree::Whole),
            _ => return false,
        };
        self.propagation.push((flag, tree));
        true
    }

    fn add_flag(&mut self, option: &str) -> bool {
        let (flag, set) = match option {
            "sync" => ("sync", true),
            "async" => ("sync", false),
            "dirsync" => ("dirsync", true),
            "lazytime" => ("lazytime", true),
            "nolazytime" => ("lazytime", false),
            "iversion" => ("iversion", true),
            "noiversion" => ("iversion", false),
            _ => return false,
        };
        self.flags.retain(|earlier| *earlier != flag);
        if set {
            self.flags.push(flag);
        }
        true
    }
}

/// The propagation that `linux.rootfsPropagation` names.
pub fn root_propagation(name: &str) -> Option<(u64, Tree)> {
    let mut options = MountOptions::default();
    options
        .add_propagation(name)
        .then(|| options.propagation.swap_remove(0))
}

/// (bits to clear, bits to set)
fn attribute(option: &str) -> Option<(u64, u64)> {
    Some(match option {
        "ro" => (0, RDONLY),
        "rw" => (RDONLY, 0),
        "nosuid" => (0, NOSUID),
        "suid" => (NOSUID, 0),
        "nodev" => (0, NODEV),
        "dev" => (NODEV, 0),
        "noexec" => (0, NOEXEC),
        "exec" => (NOEXEC, 0),
        "nosymfollow" => (0, NOSYMFOLLOW),
        "symfollow" => (NOSYMFOLLOW, 0),
        "nodiratime" => (0, NODIRATIME),
        "diratime" => (NODIRATIME, 0),
        // The access time modes are values of one field, of which relatime is 0 and the kernel's default.
        "noatime" => (ATIME, NOATIME),
        "strictatime" => (ATIME, STRICTATIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => (ATIME, 0),
        _ => return None,
    })
}

/// A later option wins over an earlier one.
fn apply(attr: &mut MountAttr, (clear, set): (u64, u64)) {
    attr.set = (attr.set & !clear) | set;
    attr.clear = (attr.clear & !set) | clear;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> MountOptions {
        MountOptions::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn options_are_sorted_by_what_they_act_on() {
        let options = parse(&["rbind", "nosuid", "ro", "rprivate", "mode=755", "size=65536k", "sync"]);
        assert_eq!(options.bind, Some(Tree::Whole));
        assert_eq!(options.attr.set, NOSUID | RDONLY);
        assert_eq!(options.propagation, [(PRIVATE, Tree::Whole)]);
        assert_eq!(options.data, ["mode=755", "size=65536k"]);
        assert_eq!(options.flags, ["sync"]);
    }

    #[test]
    fn the_last_of_two_contrary_options_wins() {
        assert!(!parse(&["ro", "rw"]).read_only());
        assert!(parse(&["rw", "ro"]).read_only());
        assert_eq!(parse(&["noatime", "strictatime"]).attr.set, STRICTATIME);
        assert_eq!(parse(&["noatime", "relatime"]).attr.set, 0);
    }

    #[test]
    fn a_leading_r_makes_an_attribute_recursive() {
        assert_eq!(parse(&["rro", "rnosuid"]).recursive_attr.set, RDONLY | NOSUID);
        assert_eq!(parse(&["relatime"]).recursive_attr, MountAttr::default());
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let refused = MountOptions::parse(&["idmap".to_owned()]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "mount option \"idmap\" is not supported by davit-runtime yet"
        );
    }
}
