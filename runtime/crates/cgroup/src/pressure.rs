//! Pressure stall information: how long tasks have waited for a resource.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Result, control_file};

/// Waiting for one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited at once.
    pub full: Stall,
}

/// Shares of time, in per cent, and the time altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stall {
    /// In the last 10 seconds.
    pub avg10: f64,
    /// In the last minute.
    pub avg60: f64,
    /// In the last five minutes.
    pub avg300: f64,
    /// Microseconds since the beginning.
    pub total: u64,
}

/// `None` where the kernel does not measure it: it is not built in, or switched off.
pub(crate) fn read(dir: &Path, file: &str) -> Result<Option<Pressure>> {
    Ok(control_file::read_if_exists(dir, file)?.map(|text| parse(&text)))
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let stall = match fields.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let share = || value.parse().unwrap_or_default();
            match key {
                "avg10" => stall.avg10 = share(),
                "avg60" => stall.avg60 = share(),
                "avg300" => stall.avg300 = share(),
                "total" => stall.total = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let pressure =
            parse("some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=7\n");
        assert_eq!(
            (pressure.some.avg10, pressure.some.avg60, pressure.some.total),
            (1.5, 0.25, 42)
        );
        assert_eq!((pressure.full.avg10, pressure.full.total), (0.1, 7));
        assert_eq!(parse("nonsense\nsome avg10"), Pressure::default());
    }
}
