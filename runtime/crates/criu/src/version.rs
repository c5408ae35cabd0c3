//! Which criu it is.

use std::fmt;

use crate::wire::CriuVersion;

/// A version as one comparable number: 3.17.1 is 31701.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(i32);

impl Version {
    /// The number `major * 10000 + minor * 100 + sublevel`.
    pub const fn new(number: i32) -> Self {
        Version(number)
    }

    /// What criu says of itself. A build from its repository counts as the next minor version, which it is on the way to.
    pub(crate) fn from_answer(answer: &CriuVersion) -> Self {
        let part = |number: i32| number.clamp(0, 1000);
        let release = part(answer.major_number) * 10_000 + part(answer.minor_number) * 100;
        Version(match answer.gitid {
            Some(_) => release + 100,
            None => release + part(answer.sublevel.unwrap_or(0)),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers_and_a_development_build_counts_as_the_next() {
        let answer = |major, minor, sublevel, gitid: Option<&str>| CriuVersion {
            major_number: major,
            minor_number: minor,
            sublevel,
            gitid: gitid.map(str::to_owned),
        };
        let version = |answer| Version::from_answer(&answer).to_string();
        assert_eq!(version(answer(3, 17, Some(1), None)), "31701");
        assert_eq!(version(answer(4, 2, None, None)), "40200");
        assert_eq!(version(answer(3, 17, Some(1), Some("v3.17.1-9"))), "31800");
        assert!(Version::from_answer(&answer(i32::MAX, i32::MAX, None, None)) > Version::new(31700));
    }
}
