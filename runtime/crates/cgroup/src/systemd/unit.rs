//! `linux.cgroupsPath` in systemd's form, `slice:prefix:name`, as a unit and its place.

use serde::{Deserialize, Serialize};

use super::SystemdError;

/// A container's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `docker-1234.scope`, or a slice.
    pub name: String,
    /// The slice it lies in, as systemd calls it.
    pub slice: String,
    /// Whether it belongs to the calling user's systemd, not to the machine's.
    pub user: bool,
}

impl Unit {
    /// What `path` names; without one, a scope with the container's id in the default slice.
    pub(crate) fn parse(path: Option<&str>, id: &str, user: bool) -> Result<Self, SystemdError> {
        let default_slice = if user { "user.slice" } else { "system.slice" };
        let (slice, prefix, name) = match path {
            None => ("", "runc", id),
            Some(path) => {
                let parts: Vec<&str> = path.split(':').collect();
                match parts[..] {
                    [slice, prefix, name] => (slice, prefix, name),
                    _ => return Err(SystemdError::Path(path.into())),
                }
            }
        };
        let name = match name.ends_with(".slice") {
            true => name.to_owned(),
            false => format!("{prefix}-{name}.scope"),
        };
        // It becomes a directory's name.
        if name.contains('/') {
            return Err(SystemdError::Path(path.unwrap_or_default().into()));
        }
        let unit = Unit {
            name,
            slice: if slice.is_empty() { default_slice } else { slice }.into(),
            user,
        };
        unit.directory().map(|_| unit)
    }

    pub(crate) fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Its directory below the manager's: `a-b.slice` lies in `a.slice`.
    pub(crate) fn directory(&self) -> Result<String, SystemdError> {
        let invalid = || SystemdError::Slice(self.slice.clone());
        let stem = self.slice.strip_suffix(".slice").ok_or_else(invalid)?;
        let mut directory = String::new();
        if stem == "-" {
            return Ok(self.name.clone());
        }
        if stem.contains('/') {
            return Err(invalid());
        }
        let mut prefix = String::new();
        for part in stem.split('-') {
            if part.is_empty() {
                return Err(invalid());
            }
            directory.push_str(&format!("{prefix}{part}.slice/"));
            prefix.push_str(&format!("{part}-"));
        }
        Ok(directory + &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &str) -> Option<String> {
        Unit::parse(Some(path), "id", false)
            .and_then(|unit| unit.directory())
            .ok()
    }

    #[test]
    fn a_path_names_a_scope_below_nested_slices() {
        for (path, expected) in [
            ("system.slice:docker:12", "system.slice/docker-12.scope"),
            ("a-b-c.slice:x:y", "a.slice/a-b.slice/a-b-c.slice/x-y.scope"),
            ("-.slice:x:y", "x-y.scope"),
            (":x:y", "system.slice/x-y.scope"),
            ("a.slice:x:a-b.slice", "a.slice/a-b.slice"),
        ] {
            assert_eq!(directory(path).as_deref(), Some(expected), "{path}");
        }
        let default = |user| Unit::parse(None, "id", user).unwrap().directory().unwrap();
        assert_eq!(default(false), "system.slice/runc-id.scope");
        assert_eq!(default(true), "user.slice/runc-id.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:x:y",
            "-a.slice:x:y",
            ".slice:x:y",
            "../a.slice:x:y",
            "a.slice:x:../../y",
            "a.slice:x/..:y",
        ] {
            assert_eq!(directory(path), None, "{path}");
        }
    }
}
