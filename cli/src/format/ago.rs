//! Times and spans for people.

use jiff::{Timestamp, tz::TimeZone};

/// A time in the user's time zone, as `ps --no-trunc` and `events` show it.
#[derive(Debug, Clone, Copy)]
pub struct Local(pub Timestamp);

impl std::fmt::Display for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zoned = self.0.to_zoned(TimeZone::system());
        write!(f, "{}", zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z"))
    }
}

/// A time with nanoseconds in the user's time zone, as `events` shows it.
pub fn rfc3339(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
        .to_string()
}

/// `About an hour ago`
pub fn ago(then: Timestamp) -> String {
    format!("{} ago", duration(Timestamp::now().as_second() - then.as_second()))
}

/// A span of seconds in one unit.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 2..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1460) => format!("{} weeks", hours / 24 / 7),
        (.., 1460..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}
