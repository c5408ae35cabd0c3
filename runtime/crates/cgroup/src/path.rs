//! `linux.cgroupsPath`, cleaned.

use crate::{CgroupError, Result};

/// A path below a hierarchy's root or below the caller's own cgroup, without `.`, `..` and empty parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CgroupPath {
    /// Counted from the hierarchy's root, not from the cgroup of the caller.
    pub absolute: bool,
    /// Without a leading slash, never empty.
    pub inner: String,
}

impl CgroupPath {
    /// `..` never leads above the root: `/../a` is `/a`, `../a` is `a`.
    pub(crate) fn parse(path: &str) -> Result<Self> {
        // A colon is legal in a cgroup's name, but "system.slice:davit:id" made into a directory helps nobody.
        if !path.contains('/') && path.split(':').count() == 3 {
            return Err(CgroupError::SystemdPath(path.into()));
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                name => parts.push(name),
            }
        }
        if parts.is_empty() {
            return Err(CgroupError::RootPath(path.into()));
        }
        Ok(CgroupPath {
            absolute: path.starts_with('/'),
            inner: parts.join("/"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, absolute: bool, inner: &str) {
        assert_eq!(
            CgroupPath::parse(path).unwrap(),
            CgroupPath {
                absolute,
                inner: inner.into()
            },
            "{path}"
        );
    }

    #[test]
    fn dots_never_lead_out_of_the_tree() {
        check("/davit/x", true, "davit/x");
        check("x", false, "x");
        check("//a/./b//", true, "a/b");
        check("../../etc", false, "etc");
        check("/a/../../b", true, "b");
    }

    #[test]
    fn the_root_is_refused() {
        for path in ["", "/", ".", "/a/..", "a/../.."] {
            assert!(
                matches!(CgroupPath::parse(path), Err(CgroupError::RootPath(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn the_form_of_systemd_is_refused() {
        assert!(matches!(
            CgroupPath::parse("system.slice:davit:id"),
            Err(CgroupError::SystemdPath(_))
        ));
        check("/a:b:c", true, "a:b:c");
    }
}
