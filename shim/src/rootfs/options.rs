//! Mount options: which are flags, which are data, and how long data becomes short.

use std::path::PathBuf;

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::RootfsError;

/// What mount(2) takes as data: one page with its terminator.
const PAGE: usize = 4096;

/// Options of one mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Of mount(2).
    pub flags: MountFlags,
    /// For a call of its own.
    pub propagation: MountPropagationFlags,
    /// For the file system.
    pub data: Vec<String>,
}

impl Options {
    /// Sorts options.
    pub fn parse(options: &[String]) -> Result<Self, RootfsError> {
        let mut sorted = Self {
            flags: MountFlags::empty(),
            propagation: MountPropagationFlags::empty(),
            data: Vec::new(),
        };
        for option in options {
            if let Some((flag, on)) = flag(option) {
                sorted.flags.set(flag, on);
            } else if let Some(propagation) = propagation(option) {
                sorted.propagation |= propagation;
            } else if is_unsupported(option) {
                return Err(RootfsError::Unsupported(option.clone()));
            } else {
                sorted.data.push(option.clone());
            }
        }
        Ok(sorted)
    }
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "async" => (MountFlags::SYNCHRONOUS, false),
        "atime" => (MountFlags::NOATIME, false),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND | MountFlags::REC, true),
        "defaults" => (MountFlags::empty(), true),
        "dev" => (MountFlags::NODEV, false),
        "diratime" => (MountFlags::NODIRATIME, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "noatime" => (MountFlags::NOATIME, true),
        "nodev" => (MountFlags::NODEV, true),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "noexec" => (MountFlags::NOEXEC, true),
        "nosuid" => (MountFlags::NOSUID, true),
        "relatime" => (MountFlags::RELATIME, true),
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "suid" => (MountFlags::NOSUID, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let recursive = |flag| flag | MountPropagationFlags::REC;
    Some(match option {
        "private" => MountPropagationFlags::PRIVATE,
        "rprivate" => recursive(MountPropagationFlags::PRIVATE),
        "shared" => MountPropagationFlags::SHARED,
        "rshared" => recursive(MountPropagationFlags::SHARED),
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "rslave" => recursive(MountPropagationFlags::DOWNSTREAM),
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        "runbindable" => recursive(MountPropagationFlags::UNBINDABLE),
        _ => return None,
    })
}

/// What containerd resolves before it calls a shim, or what needs an id-mapped mount.
fn is_unsupported(option: &str) -> bool {
    let prefixes = ["uidmap=", "gidmap=", "X-containerd."];
    option == "loop" || option == "remount" || prefixes.iter().any(|prefix| option.starts_with(prefix))
}

/// Data that fits, and the folder from which its relative paths lead.
#[derive(Debug, PartialEq, Eq)]
pub struct Short {
    /// The data, if there is any.
    pub data: Option<String>,
    /// The working directory for the call.
    pub base: Option<PathBuf>,
}

/// Joins data; where it is longer than a page, the layers of an overlay are named from their common folder.
pub fn shorten(data: &[String]) -> Result<Short, RootfsError> {
    let whole = data.join(",");
    if whole.len() < PAGE {
        return Ok(Short {
            data: (!whole.is_empty()).then_some(whole),
            base: None,
        });
    }
    let too_long = || RootfsError::TooLong(whole.len());
    let lower = data
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="))
        .ok_or_else(too_long)?;
    let base = common_folder(lower.split(':')).ok_or_else(too_long)?;
    let shorter: Vec<String> = data
        .iter()
        .map(|option| match option.strip_prefix("lowerdir=") {
            Some(layers) => {
                let names: Vec<&str> = layers.split(':').map(|layer| &layer[base.len()..]).collect();
                format!("lowerdir={}", names.join(":"))
            }
            None => option.clone(),
        })
        .collect();
    let shorter = shorter.join(",");
    if shorter.len() >= PAGE {
        return Err(too_long());
    }
    Ok(Short {
        data: Some(shorter),
        base: Some(base.into()),
    })
}

/// The longest common prefix that ends with a slash; `None` if that is no more than the root.
fn common_folder<'a>(mut paths: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let first = paths.next()?;
    let mut common = first.rfind('/')? + 1;
    for path in paths {
        let equal = first
            .bytes()
            .zip(path.bytes())
            .take_while(|(one, other)| one == other)
            .count();
        common = common.min(first[..equal.min(first.len())].rfind('/')? + 1);
    }
    (common > 1).then(|| &first[..common])
}

/// `\040` and the like in mountinfo.
pub fn unescape_octal(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
            .filter(|_| byte == b'\\');
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[&str]) -> Vec<String> {
        list.iter().map(|option| (*option).to_owned()).collect()
    }

    #[test]
    fn options_are_sorted_into_flags_propagation_and_data() {
        let parsed = Options::parse(&options(&["rbind", "ro", "nosuid", "suid", "rprivate", "index=off"])).unwrap();
        assert_eq!(parsed.flags, MountFlags::BIND | MountFlags::REC | MountFlags::RDONLY);
        assert_eq!(
            parsed.propagation,
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC
        );
        assert_eq!(parsed.data, ["index=off"]);
    }

    #[test]
    fn options_that_need_more_than_mount_are_refused_by_name() {
        for option in ["loop", "uidmap=0:1:2", "X-containerd.mkdir.path=/x"] {
            let error = Options::parse(&options(&[option])).unwrap_err();
            assert!(error.to_string().contains(option), "{error}");
        }
    }

    #[test]
    fn an_overlay_of_many_layers_is_named_from_their_common_folder() {
        let folder = "/var/lib/davit/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/";
        let layers: Vec<String> = (1..=120).map(|number| format!("{folder}{number}/fs")).collect();
        let data = options(&["upperdir=/u", &format!("lowerdir={}", layers.join(":"))]);
        let short = shorten(&data).unwrap();
        assert_eq!(short.base, Some(folder.into()));
        let text = short.data.unwrap();
        assert!(text.starts_with("upperdir=/u,lowerdir=1/fs:2/fs:"), "{text}");
        assert!(text.len() < PAGE);
    }

    #[test]
    fn data_that_fits_stays_and_data_that_never_fits_is_refused() {
        let data = options(&["lowerdir=/a:/b"]);
        assert_eq!(
            shorten(&data).unwrap(),
            Short {
                data: Some("lowerdir=/a:/b".into()),
                base: None
            }
        );
        assert_eq!(shorten(&[]).unwrap(), Short { data: None, base: None });
        let long = options(&[&"x".repeat(PAGE)]);
        assert!(matches!(shorten(&long), Err(RootfsError::TooLong(_))));
        let unrelated = options(&[&format!("lowerdir=/{}:/{}", "a/".repeat(2000), "b/".repeat(2000))]);
        assert!(matches!(shorten(&unrelated), Err(RootfsError::TooLong(_))));
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape_octal("/a\\040b\\134c"), "/a b\\c");
    }
}
