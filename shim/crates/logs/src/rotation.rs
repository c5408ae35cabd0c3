//! When a log file is rotated, under Docker's option names.

use std::{collections::BTreeMap, num::NonZeroU32};

/// Docker's `max-size` and `max-file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The size in bytes at which a file is full; `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one included.
    pub max_files: NonZeroU32,
}

/// An option that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// A name that is not ours.
    #[error("unknown log option {0:?}: expected max-size or max-file")]
    Unknown(String),
    /// A value that is not a size.
    #[error("log option max-size={0}: expected a number of bytes, with k, m or g for units, or -1")]
    Size(String),
    /// A value that is not a count.
    #[error("log option max-file={0}: expected a number of 1 or more")]
    Files(String),
    /// Several files without a size.
    #[error("log option max-file={0} needs max-size: without it there is only one file")]
    FilesWithoutSize(u32),
}

impl Rotation {
    /// One file without end: Docker's default.
    pub const NEVER: Self = Self {
        max_size: None,
        max_files: NonZeroU32::MIN,
    };

    /// Reads options.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Self, InvalidOption> {
        let mut rotation = Self::NEVER;
        for (name, value) in options {
            match name.as_str() {
                "max-size" => rotation.max_size = size(value)?,
                "max-file" => {
                    rotation.max_files = value.parse().map_err(|_| InvalidOption::Files(value.clone()))?;
                }
                _ => return Err(InvalidOption::Unknown(name.clone())),
            }
        }
        if rotation.max_size.is_none() && rotation.max_files.get() > 1 {
            return Err(InvalidOption::FilesWithoutSize(rotation.max_files.get()));
        }
        Ok(rotation)
    }
}

fn size(text: &str) -> Result<Option<u64>, InvalidOption> {
    if text == "-1" {
        return Ok(None);
    }
    let invalid = || InvalidOption::Size(text.into());
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches("ib").trim_end_matches('b');
    let (digits, shift) = match number.char_indices().next_back() {
        Some((at, 'k')) => (&number[..at], 10),
        Some((at, 'm')) => (&number[..at], 20),
        Some((at, 'g')) => (&number[..at], 30),
        Some((at, 't')) => (&number[..at], 40),
        _ => (number, 0),
    };
    let count: f64 = digits.trim().parse().map_err(|_| invalid())?;
    let bytes = count * f64::from(1u32 << (shift / 2)) * f64::from(1u32 << (shift - shift / 2));
    if !(bytes >= 1.0 && bytes < u64::MAX as f64) {
        return Err(invalid());
    }
    Ok(Some(bytes as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(Option<u64>, u32), InvalidOption> {
        let options = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Rotation::from_options(&options).map(|rotation| (rotation.max_size, rotation.max_files.get()))
    }

    #[test]
    fn sizes_take_dockers_units() {
        for (text, bytes) in [
            ("10", 10),
            ("2k", 2048),
            ("1.5m", 3 << 19),
            ("1GB", 1 << 30),
            ("1KiB", 1024),
            ("1t", 1 << 40),
        ] {
            assert_eq!(check(&[("max-size", text)]), Ok((Some(bytes), 1)), "{text}");
        }
        assert_eq!(check(&[("max-size", "-1")]), Ok((None, 1)));
        assert_eq!(check(&[("max-size", "1m"), ("max-file", "3")]), Ok((Some(1 << 20), 3)));
        assert_eq!(check(&[]), Ok((None, 1)));
    }

    #[test]
    fn options_that_mean_nothing_are_refused_by_name() {
        for bad in ["", "x", "-2", "0", "k", "nan", "inf"] {
            assert_eq!(check(&[("max-size", bad)]), Err(InvalidOption::Size(bad.into())));
        }
        assert_eq!(check(&[("max-file", "0")]), Err(InvalidOption::Files("0".into())));
        assert_eq!(check(&[("max-file", "2")]), Err(InvalidOption::FilesWithoutSize(2)));
        assert_eq!(
            check(&[("compress", "true")]),
            Err(InvalidOption::Unknown("compress".into()))
        );
    }
}
