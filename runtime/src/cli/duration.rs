//! Durations as Go writes them: `5s`, `1.5s`, `1m30s`, `500ms`.

use std::time::Duration;

/// What nobody waits for; longer ones do not fit into the kernel's clocks.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Reads one; a negative one is none at all.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    let (is_negative, amount) = match text.strip_prefix(['-', '+']) {
        Some(amount) => (text.starts_with('-'), amount),
        None => (false, text),
    };
    match amount_of(amount) {
        Some(_) if is_negative => Ok(Duration::ZERO),
        amount => amount.ok_or("no duration"),
    }
}

fn amount_of(mut rest: &str) -> Option<Duration> {
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = tail;
    }
    Some(sum.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_parts_with_units() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("1m30s", 90_000),
            ("1h", 3_600_000),
            ("2000us", 2),
            ("0", 0),
            ("+1s", 1000),
            ("-1s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "--1s",
            "1x",
            "1..2s",
            "1e9s",
            "99999999999999999999h",
            ".s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
