//! When a log file is rotated and whether what is rotated is compressed, under Docker's option names.

use std::num::NonZeroU32;

use crate::options::{InvalidOption, Options, Units, size};

/// Docker's `max-size`, `max-file` and `compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// The size in bytes at which a file is full; `None`: never.
    pub max_size: Option<u64>,
    /// How many files are kept, the current one included.
    pub max_files: NonZeroU32,
    /// Rotated files are compressed with gzip.
    pub compress: bool,
}

impl Rotation {
    /// One file without end: what json-file does by default.
    pub const NEVER: Self = Self {
        max_size: None,
        max_files: NonZeroU32::MIN,
        compress: false,
    };

    /// What the local driver does by default.
    pub const LOCAL: Self = Self {
        max_size: Some(20 << 20),
        max_files: NonZeroU32::new(5).expect("it is not zero"),
        compress: true,
    };

    /// Changes `self` as the options say.
    pub fn with_options(self, options: &mut Options) -> Result<Self, InvalidOption> {
        let max_size = options.parsed(
            "max-size",
            "a number of bytes, with k, m or g for units, or -1",
            |text| match text {
                "-1" => Some(None),
                _ => size(text, Units::Decimal).map(Some),
            },
        )?;
        let max_files = options.parsed("max-file", "a number of 1 or more", |text| text.parse().ok())?;
        let compress = options.truth("compress")?;
        let rotation = Self {
            max_size: max_size.unwrap_or(self.max_size),
            max_files: max_files.unwrap_or(self.max_files),
            compress: compress.unwrap_or(self.compress),
        };
        if rotation.compress && (rotation.max_size.is_none() || rotation.max_files == NonZeroU32::MIN) {
            let other = "max-size, and max-file of 2 or more: only rotated files are compressed";
            return Err(InvalidOption::Needs {
                name: "compress",
                other,
            });
        }
        Ok(rotation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: Rotation, pairs: &[(&str, &str)]) -> Result<(Option<u64>, u32, bool), InvalidOption> {
        let given = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut options = Options::new(&given.collect());
        let rotation = base.with_options(&mut options)?;
        options.finish("x")?;
        Ok((rotation.max_size, rotation.max_files.get(), rotation.compress))
    }

    #[test]
    fn options_change_a_drivers_defaults() {
        assert_eq!(check(Rotation::NEVER, &[]), Ok((None, 1, false)));
        assert_eq!(check(Rotation::LOCAL, &[]), Ok((Some(20 << 20), 5, true)));
        let small = [("max-file", "1"), ("compress", "false")];
        assert_eq!(check(Rotation::LOCAL, &small), Ok((Some(20 << 20), 1, false)));
        assert_eq!(check(Rotation::NEVER, &[("max-size", "-1")]), Ok((None, 1, false)));
        // Without a size the number of files means nothing, and is no error, as in Docker.
        assert_eq!(check(Rotation::NEVER, &[("max-file", "3")]), Ok((None, 3, false)));
        let all = [("max-size", "10m"), ("max-file", "3"), ("compress", "true")];
        assert_eq!(check(Rotation::NEVER, &all), Ok((Some(10_000_000), 3, true)));
    }

    #[test]
    fn options_that_mean_nothing_are_refused_by_name() {
        for pair in [
            ("max-size", "0"),
            ("max-size", "x"),
            ("max-file", "0"),
            ("compress", "maybe"),
        ] {
            let text = check(Rotation::NEVER, &[pair]).unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("log option {}={}: expected ", pair.0, pair.1)),
                "{text}"
            );
        }
        for (base, pairs) in [
            (Rotation::NEVER, [("compress", "1"), ("max-file", "2")]),
            (Rotation::NEVER, [("compress", "1"), ("max-size", "1k")]),
            (Rotation::LOCAL, [("max-file", "1"), ("max-size", "1k")]),
        ] {
            let text = check(base, &pairs).unwrap_err().to_string();
            assert!(text.starts_with("log option compress needs max-size"), "{text}");
        }
    }
}
