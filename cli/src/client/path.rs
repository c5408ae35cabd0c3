//! Names on their way into a request's path.

use std::fmt::Write;

use crate::command_error::CommandError;

/// Escapes everything that means something in a path or a query.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => encoded.push(byte as char),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Passes the name or id of a container on when it can be one.
///
/// `../images/x` must not become another request: clients and engines both tidy paths. No container has such a name, so the
/// answer is the one the engine would give.
pub fn container_name(name: &str) -> Result<&str, CommandError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let bare = name.strip_prefix('/').unwrap_or(name);
    if bare.is_empty() {
        return Err(CommandError::user("invalid container name or ID: value is empty"));
    }
    if bare.chars().all(allowed) && bare.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(bare);
    }
    Err(CommandError::engine(404, format!("No such container: {name}")))
}

/// Passes the name or id of an image on when it can be one.
pub fn image_name(name: &str) -> Result<&str, CommandError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/:@+".contains(c);
    let tidy = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !name.is_empty() && name.chars().all(allowed) && name.split('/').all(tidy) {
        return Ok(name);
    }
    Err(CommandError::engine(400, "invalid reference format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_path_are_refused() {
        for bad in ["../x", "a/b", "..", ".", "a?b", "a#b", "a b", "a%2e"] {
            assert!(container_name(bad).is_err(), "{bad}");
        }
        for bad in ["../x", "a/../b", "a//b", "/a", "", "a?b", "a b"] {
            assert!(image_name(bad).is_err(), "{bad}");
        }
        assert_eq!(container_name("/web-1").ok(), Some("web-1"));
        assert_eq!(image_name("reg:5000/a/b:tag").ok(), Some("reg:5000/a/b:tag"));
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(encode("a b/ü:1&x=y"), "a%20b%2F%C3%BC:1%26x%3Dy");
    }
}
