//! Times and durations as Docker's clients read them.

use jiff::Timestamp;

/// Go's zero time, which stands for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits as it takes.
pub fn rfc3339(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// A duration in words, as in `Up 5 minutes`.
pub fn human(seconds: i64) -> String {
    let plural = |count: i64, unit: &str| format!("{count} {unit}s");
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..=0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..=59 => plural(seconds, "second"),
        60..=119 => "About a minute".into(),
        120..=3599 => plural(minutes, "minute"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => plural(hours, "hour"),
        _ if hours < 24 * 7 * 2 => plural(hours / 24, "day"),
        _ if hours < 24 * 30 * 2 => plural(hours / 24 / 7, "week"),
        _ if hours < 24 * 365 * 2 => plural(hours / 24 / 30, "month"),
        _ => plural(hours / 24 / 365, "year"),
    }
}

/// How long ago, in words.
pub fn since(time: Timestamp, now: Timestamp) -> String {
    human(now.as_second() - time.as_second())
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn durations_are_told_in_dockers_words() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (3 * 86400, "3 days"),
            (21 * 86400, "3 weeks"),
            (90 * 86400, "3 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human(seconds), words, "{seconds}");
        }
    }
}
