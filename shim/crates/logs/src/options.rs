//! Log options under Docker's names, as texts that each driver takes by name; what nobody takes is refused.

use std::{collections::BTreeMap, time::Duration};

use jiff::SignedDuration;

/// An option that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// A name that the driver does not know.
    #[error("unknown log option {name:?} for {driver}: expected {known}")]
    Unknown {
        /// The driver.
        driver: &'static str,
        /// The name.
        name: String,
        /// The names that it knows.
        known: String,
    },
    /// A value that cannot be.
    #[error("log option {name}={value}: expected {expected}")]
    Value {
        /// The option.
        name: &'static str,
        /// As it was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// An option that must be there.
    #[error("log option {name} is missing: expected {expected}")]
    Missing {
        /// The option.
        name: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// An option that has no effect, or no sense, by itself.
    #[error("log option {name} needs {other}")]
    Needs {
        /// The option.
        name: &'static str,
        /// What must be set with it.
        other: &'static str,
    },
}

/// The options of one driver. Each may be taken once; [`Options::finish`] refuses the rest.
#[derive(Debug)]
pub(crate) struct Options {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Options {
    pub fn new(options: &BTreeMap<String, String>) -> Self {
        Self {
            left: options.clone(),
            known: Vec::new(),
        }
    }

    /// The value of an option that is set and not empty.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name).filter(|value| !value.is_empty())
    }

    /// A value in the form that `read` knows.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, InvalidOption> {
        let Some(value) = self.text(name) else { return Ok(None) };
        match read(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(InvalidOption::Value { name, value, expected }),
        }
    }

    /// A truth value in one of Go's spellings.
    pub fn truth(&mut self, name: &'static str) -> Result<Option<bool>, InvalidOption> {
        self.parsed(name, "true or false", |value| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
    }

    /// A duration as Go writes it, not negative.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, InvalidOption> {
        self.parsed(name, "a duration such as 500ms, 1s or 1m", |value| {
            // Go has no unit for nothing.
            if value == "0" {
                return Some(Duration::ZERO);
            }
            value.parse::<SignedDuration>().ok()?.try_into().ok()
        })
    }

    /// Refuses what was not taken.
    pub fn finish(mut self, driver: &'static str) -> Result<(), InvalidOption> {
        self.known.sort_unstable();
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(InvalidOption::Unknown {
                driver,
                name,
                known: match self.known.as_slice() {
                    [] => "none".into(),
                    known => known.join(", "),
                },
            }),
        }
    }
}

/// How many bytes a unit's letter stands for.
#[derive(Clone, Copy)]
pub(crate) enum Units {
    /// Powers of 1000: sizes of files in Docker.
    Decimal,
    /// Powers of 1024: sizes of memory in Docker.
    Binary,
}

/// A number of bytes with an optional unit: `k`, `m`, `g`, `t` or `p`, and `b` or `ib` behind it.
pub(crate) fn size(text: &str, units: Units) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim_start();
    let letter = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(unit);
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let base: f64 = match units {
        Units::Decimal => 1000.0,
        Units::Binary => 1024.0,
    };
    let bytes = number.parse::<f64>().ok()? * base.powi(power);
    (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_dockers_units() {
        for (text, decimal, binary) in [
            ("10", 10, 10),
            ("2k", 2000, 2048),
            ("1.5m", 1_500_000, 3 << 19),
            ("1GB", 1_000_000_000, 1 << 30),
            ("1 KiB", 1000, 1024),
            ("7b", 7, 7),
            ("1t", 1_000_000_000_000, 1 << 40),
        ] {
            assert_eq!(size(text, Units::Decimal), Some(decimal), "{text}");
            assert_eq!(size(text, Units::Binary), Some(binary), "{text}");
        }
        for bad in ["", "x", "-2", "0", "k", "nan", "inf", "1kk", "1..2", "1e3", "99999999p"] {
            assert_eq!(size(bad, Units::Decimal), None, "{bad}");
        }
    }

    #[test]
    fn what_nobody_took_is_refused_with_what_would_be_known() {
        let given = [("a", "true"), ("z", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut options = Options::new(&given.into());
        assert_eq!(options.truth("a"), Ok(Some(true)));
        assert_eq!(options.text("c"), None);
        let refused = options.finish("x").unwrap_err().to_string();
        assert_eq!(refused, "unknown log option \"z\" for x: expected a, c");
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_what_would_be_right() {
        let check = |name: &'static str, value: &str| {
            let mut options = Options::new(&[(name.to_owned(), value.to_owned())].into());
            match name {
                "truth" => options.truth(name).map(drop),
                _ => options.duration(name).map(drop),
            }
        };
        for (name, value) in [
            ("truth", "yes"),
            ("duration", "1"),
            ("duration", "-1s"),
            ("duration", "x"),
        ] {
            let text = check(name, value).unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("log option {name}={value}: expected ")),
                "{text}"
            );
        }
        for value in ["0", "0s", "1.5s", "1m30s", "500ms"] {
            assert_eq!(check("duration", value), Ok(()), "{value}");
        }
    }
}
