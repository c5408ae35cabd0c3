//! API versions: the prefix of a path, and what every answer says of the engine.

use std::{fmt, str::FromStr};

use axum::http::{HeaderMap, HeaderValue};

use crate::error::ApiError;

/// `major.minor`; only 1 has ever been major.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    major: u32,
    minor: u32,
}

impl ApiVersion {
    /// What this engine speaks, and what a path without a prefix means.
    pub const NEWEST: Self = Self::minor(50);
    /// The oldest that it accepts.
    pub const OLDEST: Self = Self::minor(24);

    /// 1 and this.
    pub const fn minor(minor: u32) -> Self {
        Self { major: 1, minor }
    }

    /// Refuses what is too old or too new, in Docker's words.
    pub fn check(self) -> Result<Self, ApiError> {
        let hint = "please upgrade your client to a newer version";
        if self < Self::OLDEST {
            let oldest = Self::OLDEST;
            let text = format!("client version {self} is too old. Minimum supported API version is {oldest}, {hint}");
            return Err(ApiError::invalid(text));
        }
        if self > Self::NEWEST {
            let newest = Self::NEWEST;
            let text = format!("client version {self} is too new. Maximum supported API version is {newest}");
            return Err(ApiError::invalid(text));
        }
        Ok(self)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse::<u32>().map_err(drop),
            false => Err(()),
        };
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
        })
    }
}

/// Splits `/v1.43/info` into its version and `/info`; a path without a version is itself.
pub fn split_prefix(path: &str) -> (Option<ApiVersion>, &str) {
    let prefixed = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        Some((rest[..end].parse().ok()?, &rest[end..]))
    });
    match prefixed {
        Some((version, rest)) => (Some(version), rest),
        None => (None, path),
    }
}

/// The engine's own version.
pub const ENGINE: &str = env!("CARGO_PKG_VERSION");

/// Adds what every answer carries.
pub fn stamp(headers: &mut HeaderMap) {
    headers.insert("Api-Version", HeaderValue::from_static("1.50"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Davit/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_split_off_and_nothing_else_is() {
        assert_eq!(split_prefix("/v1.43/info"), (Some(ApiVersion::minor(43)), "/info"));
        assert_eq!(split_prefix("/info"), (None, "/info"));
        assert_eq!(split_prefix("/version"), (None, "/version"));
        assert_eq!(split_prefix("/volumes/v1.2"), (None, "/volumes/v1.2"));
        assert_eq!(split_prefix("/v1.x/info"), (None, "/v1.x/info"));
    }

    #[test]
    fn versions_out_of_range_are_refused_in_dockers_words() {
        let text = |minor| ApiVersion::minor(minor).check().unwrap_err().message;
        assert_eq!(
            text(20),
            "client version 1.20 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer \
             version"
        );
        assert_eq!(
            text(99),
            "client version 1.99 is too new. Maximum supported API version is 1.50"
        );
        assert!(ApiVersion::minor(24).check().is_ok() && ApiVersion::NEWEST.check().is_ok());
    }

    #[test]
    fn the_stamped_version_is_the_newest() {
        let mut headers = HeaderMap::new();
        stamp(&mut headers);
        assert_eq!(headers["Api-Version"], ApiVersion::NEWEST.to_string());
    }
}
