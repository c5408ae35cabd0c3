//! Sizes for people: four significant digits at most, in Docker's units.

use std::fmt;

const DECIMAL: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in steps of 1000, as for images.
#[derive(Debug, Clone, Copy)]
pub struct Decimal(pub i64);

/// Bytes in steps of 1024, as for memory.
#[derive(Debug, Clone, Copy)]
pub struct Binary(pub i64);

/// Bytes in steps of 1000 with three digits, as for images.
pub fn decimal(bytes: i64) -> String {
    Decimal(bytes).to_string()
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, 1000.0, DECIMAL, 3)
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        scaled(f, self.0, 1024.0, BINARY, 4)
    }
}

fn scaled(f: &mut fmt::Formatter<'_>, bytes: i64, step: f64, units: &[&str], digits: usize) -> fmt::Result {
    let mut size = bytes as f64;
    let mut at = 0;
    while size >= step && at + 1 < units.len() {
        size /= step;
        at += 1;
    }
    write!(f, "{}{}", significant(size, digits), units[at])
}

/// A number with so many significant digits and no zeros at its end, like C's `%.3g` for what occurs here.
fn significant(number: f64, digits: usize) -> String {
    let whole = if number < 1.0 {
        1
    } else {
        number.log10().floor() as usize + 1
    };
    let text = format!("{number:.*}", digits.saturating_sub(whole));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
