//! What an archive says about a file besides its bytes.

use std::{
    ffi::{CString, OsStr},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use tar::Entry;

use crate::{ArchiveError, name::EntryName};

use super::invalid;

const XATTR: &str = "SCHILY.xattr.";

/// Owner, mode, time and extended attributes of an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits, the set-id and sticky bits included.
    pub(super) mode: u32,
    pub(super) modified: Time,
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
}

/// A time since 1970, which may lie before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Attributes {
    /// Reads them from the header and the extended header, which wins.
    pub(super) fn read<R: io::Read>(entry: &mut Entry<'_, R>, name: &EntryName) -> Result<Self, ArchiveError> {
        let header = entry.header();
        let fields = header.as_old();
        let bad = |field: &str| invalid(name, format!("{field} is not a number"));
        let mut attributes = Self {
            uid: number(header.uid(), &fields.uid)
                .and_then(id)
                .ok_or_else(|| bad("uid"))?,
            gid: number(header.gid(), &fields.gid)
                .and_then(id)
                .ok_or_else(|| bad("gid"))?,
            mode: number(header.mode(), &fields.mode).ok_or_else(|| bad("mode"))? & 0o7777,
            modified: Time {
                // A time before 1970 comes as two's complement.
                seconds: number(header.mtime(), &fields.mtime)
                    .ok_or_else(|| bad("mtime"))?
                    .cast_signed(),
                nanoseconds: 0,
            },
            xattrs: Vec::new(),
        };
        let Some(extensions) = entry.pax_extensions().map_err(ArchiveError::Read)? else {
            return Ok(attributes);
        };
        for extension in extensions {
            let extension = extension.map_err(ArchiveError::Read)?;
            let Ok(key) = extension.key() else { continue };
            let text = || std::str::from_utf8(extension.value_bytes()).unwrap_or_default();
            match key {
                "uid" => attributes.uid = text().parse().ok().and_then(id).ok_or_else(|| bad("uid"))?,
                "gid" => attributes.gid = text().parse().ok().and_then(id).ok_or_else(|| bad("gid"))?,
                "mtime" => attributes.modified = Time::parse(text()).ok_or_else(|| bad("mtime"))?,
                "GNU.sparse.major" => return Err(invalid(name, "sparse file in PAX form is not supported")),
                key => attributes.xattrs.extend(xattr(key, extension.value_bytes())),
            }
        }
        Ok(attributes)
    }

    /// Gives the file `name` in `folder` its owner, mode and extended attributes; it is not followed.
    pub(super) fn set(&self, folder: BorrowedFd<'_>, name: &OsStr, is_link: bool) -> io::Result<()> {
        rustix::fs::chownat(
            folder,
            name,
            Some(Uid::from_raw(self.uid)),
            Some(Gid::from_raw(self.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        // After the owner, since changing it takes the set-id bits away. A link has no mode of its own.
        if !is_link {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        self.set_xattrs(folder, name)
    }

    pub(super) fn set_xattrs(&self, folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        if self.xattrs.is_empty() {
            return Ok(());
        }
        // The only magic link used is our own, to the folder that the gate has opened; the name itself is not followed.
        let path = [
            b"/proc/self/fd/",
            folder.as_raw_fd().to_string().as_bytes(),
            b"/",
            name.as_bytes(),
        ]
        .concat();
        for (key, value) in &self.xattrs {
            match rustix::fs::lsetxattr(path.as_slice(), key.as_c_str(), value, XattrFlags::empty()) {
                // Not every file system has them, and links and devices have no user ones.
                Err(Errno::OPNOTSUPP) => tracing::debug!(?key, "extended attribute not supported here"),
                Err(Errno::PERM) if key.as_bytes().starts_with(b"user.") => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Access and change time for `utimensat`.
    pub(super) fn times(&self) -> Timestamps {
        self.modified.timestamps()
    }
}

impl Time {
    /// Parses PAX decimal seconds with an optional fraction.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().ok()?;
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let nanoseconds: i64 = digits.parse().ok()?;
        Some(match whole.starts_with('-') && nanoseconds > 0 {
            false => Self { seconds, nanoseconds },
            true => Self {
                seconds: seconds.checked_sub(1)?,
                nanoseconds: 1_000_000_000 - nanoseconds,
            },
        })
    }

    pub(super) fn timestamps(self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.seconds,
            tv_nsec: self.nanoseconds,
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

/// A number of a header. A blank field is 0, as other readers have it.
pub(super) fn number<T: Default>(read: io::Result<T>, field: &[u8]) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(_) => field.iter().all(|byte| matches!(byte, 0 | b' ')).then(T::default),
    }
}

/// A user or group id. The last number means "unchanged" to the kernel and names nobody.
fn id(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|id| *id != u32::MAX)
}

/// The attribute that a PAX record carries. Those of overlayfs are dropped: a layer must not steer the mount above it.
fn xattr(key: &str, value: &[u8]) -> Option<(CString, Vec<u8>)> {
    let key = key.strip_prefix(XATTR)?;
    if key.starts_with("trusted.overlay.") || key.starts_with("user.overlay.") {
        return None;
    }
    Some((CString::new(key).ok()?, value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_keep_their_fraction_on_both_sides_of_1970() {
        let check = |text, seconds, nanoseconds| {
            assert_eq!(Time::parse(text), Some(Time { seconds, nanoseconds }), "{text}");
        };
        check("12", 12, 0);
        check("12.5", 12, 500_000_000);
        check("12.123456789123", 12, 123_456_789);
        check("-1.25", -2, 750_000_000);
        assert_eq!(Time::parse("1.x"), None);
        assert_eq!(Time::parse(""), None);
    }

    #[test]
    fn attributes_of_overlayfs_are_dropped() {
        assert!(xattr("SCHILY.xattr.trusted.overlay.redirect", b"/etc").is_none());
        assert!(xattr("SCHILY.xattr.security.capability", b"x").is_some());
        assert!(xattr("mtime", b"1").is_none());
    }
}
