//! fstab-like mount options, sorted by what they act on.

use davit_sys::mount_attr::{
    ATIME, MountAttr, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, PRIVATE, RDONLY, SHARED, SLAVE,
    STRICTATIME, UNBINDABLE,
};
use rustix::mount::MountFlags;

/// `MS_I_VERSION`, which rustix does not name.
pub(super) const I_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);

/// Option, its `MS_*` flag, and whether it takes the flag away. The names, and that `strictatime` and the like are flags of
/// their own and no values of one field, are mount(8)'s and runc's.
const FLAGS: [(&str, MountFlags, bool); 29] = [
    ("async", MountFlags::SYNCHRONOUS, true),
    ("atime", MountFlags::NOATIME, true),
    ("dev", MountFlags::NODEV, true),
    ("diratime", MountFlags::NODIRATIME, true),
    ("dirsync", MountFlags::DIRSYNC, false),
    ("exec", MountFlags::NOEXEC, true),
    ("iversion", I_VERSION, false),
    ("lazytime", MountFlags::LAZYTIME, false),
    ("loud", MountFlags::SILENT, true),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
    ("noatime", MountFlags::NOATIME, false),
    ("nodev", MountFlags::NODEV, false),
    ("nodiratime", MountFlags::NODIRATIME, false),
    ("noexec", MountFlags::NOEXEC, false),
    ("noiversion", I_VERSION, true),
    ("nolazytime", MountFlags::LAZYTIME, true),
    ("nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
    ("norelatime", MountFlags::RELATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, true),
    ("nosuid", MountFlags::NOSUID, false),
    ("nosymfollow", MountFlags::NOSYMFOLLOW, false),
    ("relatime", MountFlags::RELATIME, false),
    ("ro", MountFlags::RDONLY, false),
    ("rw", MountFlags::RDONLY, true),
    ("silent", MountFlags::SILENT, false),
    ("strictatime", MountFlags::STRICTATIME, false),
    ("suid", MountFlags::NOSUID, true),
    ("symfollow", MountFlags::NOSYMFOLLOW, true),
    ("sync", MountFlags::SYNCHRONOUS, false),
];

/// Option, bits that it clears, bits that it sets, of a mount and all below it. The access time modes are values of one
/// field, of which relatime is 0.
const RECURSIVE: [(&str, u64, u64); 18] = [
    ("ratime", ATIME, 0),
    ("rdev", NODEV, 0),
    ("rdiratime", NODIRATIME, 0),
    ("rexec", NOEXEC, 0),
    ("rnoatime", ATIME, NOATIME),
    ("rnodev", 0, NODEV),
    ("rnodiratime", 0, NODIRATIME),
    ("rnoexec", 0, NOEXEC),
    ("rnorelatime", ATIME, 0),
    ("rnostrictatime", ATIME, 0),
    ("rnosuid", 0, NOSUID),
    ("rnosymfollow", 0, NOSYMFOLLOW),
    ("rrelatime", ATIME, 0),
    ("rro", 0, RDONLY),
    ("rrw", RDONLY, 0),
    ("rstrictatime", ATIME, STRICTATIME),
    ("rsuid", NOSUID, 0),
    ("rsymfollow", NOSYMFOLLOW, 0),
];

const PROPAGATION: [(&str, u64, Tree); 8] = [
    ("private", PRIVATE, Tree::Single),
    ("rprivate", PRIVATE, Tree::Whole),
    ("rshared", SHARED, Tree::Whole),
    ("rslave", SLAVE, Tree::Whole),
    ("runbindable", UNBINDABLE, Tree::Whole),
    ("shared", SHARED, Tree::Single),
    ("slave", SLAVE, Tree::Single),
    ("unbindable", UNBINDABLE, Tree::Single),
];

/// The flags that say how access times are kept.
pub(super) const ATIME_FLAGS: MountFlags = MountFlags::NOATIME
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICTATIME)
    .union(MountFlags::NODIRATIME);

/// What the options of one mount ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Whether it is a bind, and then whether of the whole tree.
    pub bind: Option<Tree>,
    /// Whether what is mounted at the destination is to be changed, rather than something mounted there.
    pub remount: bool,
    /// Flags to set: of the mount itself and of the file system.
    pub set: MountFlags,
    /// Flags that were expressly not to be set.
    pub cleared: MountFlags,
    /// Attributes of the mount and all below it (`rro` and the like).
    pub recursive_attr: MountAttr,
    /// Changes of propagation, in order: the flag, and whether for the whole tree.
    pub propagation: Vec<(u64, Tree)>,
    /// Whether ids are mapped, and then whether in the whole tree.
    pub idmap: Option<Tree>,
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

impl Default for MountOptions {
    fn default() -> Self {
        MountOptions {
            bind: None,
            remount: false,
            set: MountFlags::empty(),
            cleared: MountFlags::empty(),
            recursive_attr: MountAttr::default(),
            propagation: Vec::new(),
            idmap: None,
            copy_up: false,
            data: Vec::new(),
        }
    }
}

/// The names of all options that are not a file system's own, sorted.
pub fn names() -> Vec<&'static str> {
    let flags = FLAGS.iter().map(|(name, ..)| *name);
    let recursive = RECURSIVE.iter().map(|(name, ..)| *name);
    let propagation = PROPAGATION.iter().map(|(name, ..)| *name);
    let others = ["bind", "defaults", "idmap", "rbind", "remount", "ridmap", "tmpcopyup"];
    let mut names: Vec<_> = flags.chain(recursive).chain(propagation).chain(others).collect();
    names.sort_unstable();
    names
}

impl MountOptions {
    /// Sorts options; what is no known name is data for the file system.
    pub fn parse(options: &[String]) -> Self {
        let mut parsed = MountOptions::default();
        for option in options {
            parsed.add(option);
        }
        parsed
    }

    /// Whether the mount itself is to be read-only.
    pub fn read_only(&self) -> bool {
        self.set.contains(MountFlags::RDONLY)
    }

    fn add(&mut self, option: &str) {
        match option {
            "bind" => self.bind = self.bind.or(Some(Tree::Single)),
            "rbind" => self.bind = Some(Tree::Whole),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.idmap = Some(Tree::Single),
            "ridmap" => self.idmap = Some(Tree::Whole),
            "defaults" => {}
            _ if self.add_flag(option) || self.add_propagation(option) || self.add_recursive(option) => {}
            _ => self.data.extend(parts(option)),
        }
    }

    fn add_flag(&mut self, option: &str) -> bool {
        let Some((_, flag, clears)) = FLAGS.iter().find(|(name, ..)| *name == option) else {
            return false;
        };
        // A later option wins over an earlier one.
        self.set.set(*flag, !clears);
        self.cleared.set(*flag, *clears);
        true
    }

    fn add_propagation(&mut self, option: &str) -> bool {
        let change = propagation(option);
        self.propagation.extend(change);
        change.is_some()
    }

    fn add_recursive(&mut self, option: &str) -> bool {
        let Some((_, clear, set)) = RECURSIVE.iter().find(|(name, ..)| *name == option) else {
            return false;
        };
        let attr = &mut self.recursive_attr;
        attr.set = (attr.set & !clear) | set;
        // The field of access times is only changed as a whole.
        attr.clear = (attr.clear & !(set & !ATIME)) | clear;
        true
    }
}

/// What only a file system understands may be several options in one (`size=1m,mode=755`), or none: mount(2) is given them
/// all with commas in between.
fn parts(option: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = option.chars().peekable();
    while let Some(c) = rest.next() {
        let part = parts.last_mut().expect("there is always one");
        // A list of memory nodes (mpol=bind:0,2) goes on behind the comma, as tmpfs reads it.
        let separates = c == ',' && !quoted && !escaped && !rest.peek().is_some_and(char::is_ascii_digit);
        match c {
            _ if separates => parts.push(String::new()),
            // SELinux takes the quotes of its contexts off where mount(2) is called; nobody else has any.
            '"' if CONTEXTS.iter().any(|name| part.starts_with(name)) => quoted = !quoted,
            _ => part.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The options of a file system in the form of mount(2), which takes the commas of an SELinux context in quotes alone.
pub(super) fn as_text(data: &[String]) -> String {
    let text = |option: &String| match CONTEXTS
        .iter()
        .find_map(|name| Some((name, option.strip_prefix(name)?)))
    {
        Some((name, context)) => format!("{name}\"{context}\""),
        None => option.clone(),
    };
    data.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The options that are SELinux's.
const CONTEXTS: [&str; 4] = ["context=", "fscontext=", "defcontext=", "rootcontext="];

/// The attributes of a mount that has exactly `flags`, as mount(2) reads them: strictatime wins over noatime, and relatime
/// is what there is without either.
pub(super) fn attributes(flags: MountFlags) -> u64 {
    let pairs = [
        (MountFlags::RDONLY, RDONLY),
        (MountFlags::NOSUID, NOSUID),
        (MountFlags::NODEV, NODEV),
        (MountFlags::NOEXEC, NOEXEC),
        (MountFlags::NOSYMFOLLOW, NOSYMFOLLOW),
        (MountFlags::NODIRATIME, NODIRATIME),
    ];
    let plain = pairs.iter().filter(|(flag, _)| flags.contains(*flag));
    let atime = if flags.contains(MountFlags::STRICTATIME) {
        STRICTATIME
    } else if flags.contains(MountFlags::NOATIME) {
        NOATIME
    } else {
        0
    };
    plain.fold(atime, |bits, (_, attribute)| bits | attribute)
}

/// The change that gives an existing mount exactly `flags`, except that access times stay as they are kept where no flag
/// speaks of them (mount(2), MS_REMOUNT | MS_BIND).
pub(super) fn change_to(flags: MountFlags) -> MountAttr {
    let mut attr = MountAttr::set(attributes(flags));
    let atime = if flags.intersects(ATIME_FLAGS) {
        ATIME | NODIRATIME
    } else {
        0
    };
    // What is to be set may not be in both, but for the field of access times.
    attr.clear = ((RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW | atime) & !attr.set) | (atime & ATIME);
    attr
}

/// The change of propagation that an option, or `linux.rootfsPropagation`, names.
pub fn propagation(name: &str) -> Option<(u64, Tree)> {
    let found = PROPAGATION.iter().find(|(known, ..)| *known == name);
    found.map(|(_, flag, tree)| (*flag, *tree))
}

#[cfg(test)]
mod tests;
