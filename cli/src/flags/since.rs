//! `--since` and `--until`: a time, seconds since 1970, or a span before now.

use jiff::{Span, Timestamp, civil, tz::TimeZone};

use crate::command_error::CommandError;

/// The time as the API takes it: seconds with nine digits behind the point.
pub fn since(text: &str, now: Timestamp) -> Result<String, CommandError> {
    if let Some(seconds) = seconds(text) {
        return Ok(seconds);
    }
    let zoned = |local: civil::DateTime| local.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp());
    let time = text
        .parse::<Timestamp>()
        .or_else(|_| text.parse::<civil::DateTime>().and_then(zoned))
        .or_else(|_| text.parse::<civil::Date>().and_then(|date| zoned(date.into())))
        .or_else(|_| span(text).and_then(|span| now.checked_sub(span)));
    match time {
        Ok(time) => Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())),
        Err(_) => Err(
            CommandError::user(format!("failed to parse value as time or duration: {text:?}"))
                .hint("a time looks like 2026-01-31T13:00:00, a duration like 1h30m"),
        ),
    }
}

/// `1234567890` or `1234567890.123456789`, which the API takes as they are.
fn seconds(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction) && fraction.len() <= 9).then(|| text.to_owned())
}

/// Go's durations: `1h30m`, `10s`, `1.5h`, `300ms`.
fn span(text: &str) -> Result<Span, jiff::Error> {
    text.parse()
}
