//! Integers as Go reads those of flags: `0x1f`, `0b11`, `0o17` and `017`.

use std::fmt::Display;

/// Reads one.
pub(super) fn parse<T: TryFrom<i128, Error: Display>>(text: &str) -> Result<T, String> {
    let number = number(text).ok_or("no integer")?;
    T::try_from(number).map_err(|err| err.to_string())
}

fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (if text.starts_with('-') { -1 } else { 1 }, digits),
        None => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = [("0x", 16), ("0b", 2), ("0o", 8)]
        .iter()
        .find_map(|(prefix, radix)| Some((*radix, lower.strip_prefix(prefix)?)))
        .or_else(|| {
            lower
                .strip_prefix('0')
                .filter(|rest| !rest.is_empty())
                .map(|rest| (8, rest))
        })
        .unwrap_or((10, &lower));
    // A further sign would be taken.
    match digits.starts_with(['-', '+']) {
        true => None,
        false => Some(sign * i128::from_str_radix(digits, radix).ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_says_the_base() {
        for (text, number) in [
            ("10", 10),
            ("-1", -1),
            ("+7", 7),
            ("0", 0),
            ("010", 8),
            ("0x1F", 31),
            ("0b11", 3),
            ("0o17", 15),
            ("-0x10", -16),
        ] {
            assert_eq!(parse::<i64>(text), Ok(number), "{text}");
        }
        for text in ["", "x", "08", "0x", "--1", "0x-1", "1.5", "1_000", " 1"] {
            assert!(parse::<i64>(text).is_err(), "{text:?}");
        }
        assert!(parse::<u16>("65536").is_err() && parse::<u32>("-1").is_err());
    }
}
