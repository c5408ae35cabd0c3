//! The stdio URIs of a task: what a client of the manager writes into `stdin`, `stdout` and `stderr`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    path::PathBuf,
    str::FromStr,
};

use crate::log::{LogDetails, LogDriver};

/// The `stdin` of a process whose input arrives over its attach socket.
pub const STDIN_ATTACHED: &str = "attach:";

/// Where one of a process's streams goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Empty text: /dev/null.
    Null,
    /// A path without a scheme: a FIFO made by the client.
    Fifo(PathBuf),
    /// `file://`: appended to.
    File(PathBuf),
    /// `binary://` or, since containerd 2.2, `binary-v2://`: a logging program, with its arguments in the order of the query.
    Binary {
        /// The program.
        path: PathBuf,
        /// Whether it must write a byte when it is ready (v2). Before, the end of its descriptor was enough, which a crash
        /// is, too.
        says_ready: bool,
        /// Keys and values; a value may be empty.
        arguments: Vec<(String, String)>,
    },
    /// A log driver inside the shim.
    Log(LogTarget),
    /// [`STDIN_ATTACHED`]; for stdin alone.
    Attached,
}

/// `driver://PATH?attach=SOCKET&option=value…`, in which `stdout` and `stderr` name the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// The driver.
    pub driver: LogDriver,
    /// The log file; for [`LogDriver::Journald`] the socket of a journal that is not the host's own; else empty.
    pub path: PathBuf,
    /// The attach socket that the shim makes. At most 107 bytes (sun_path).
    pub attach: PathBuf,
    /// Options of the driver under Docker's names, `mode` and `max-buffer-size` among them. `tag` is a text, no template.
    pub options: BTreeMap<String, String>,
    /// What the driver may say of the container.
    pub details: LogDetails,
}

/// A stdio URI that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUri {
    /// Not one of the known schemes.
    #[error("unsupported stdio scheme {0:?}: expected a FIFO's path, file, binary, binary-v2 or a log driver: {names}", names = LogDriver::names())]
    Scheme(String),
    /// A path that is not absolute.
    #[error("stdio URI {0:?} has no absolute path")]
    Path(String),
    /// A path of a log driver that has no file.
    #[error("stdio URI {0:?} has a path, which means nothing to its log driver")]
    NoPath(String),
    /// A log driver without `attach`.
    #[error("stdio URI {0:?} names no attach socket of at most 107 bytes")]
    Attach(String),
    /// A `%` that is not followed by two hexadecimal digits of UTF-8 text.
    #[error("stdio URI {0:?} has a malformed percent escape")]
    Escape(String),
}

impl FromStr for Stdio {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        if text.is_empty() {
            return Ok(Self::Null);
        }
        if text == STDIN_ATTACHED {
            return Ok(Self::Attached);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Fifo(absolute(text, text)?));
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let escape = || InvalidUri::Escape(text.into());
        let path = unescape(path).ok_or_else(escape)?;
        let arguments = parse_query(query).ok_or_else(escape)?;
        match scheme {
            "fifo" => Ok(Self::Fifo(absolute(&path, text)?)),
            "file" => Ok(Self::File(absolute(&path, text)?)),
            "binary" | "binary-v2" => Ok(Self::Binary {
                path: absolute(&path, text)?,
                says_ready: scheme == "binary-v2",
                arguments,
            }),
            _ => {
                let driver = LogDriver::named(scheme).ok_or_else(|| InvalidUri::Scheme(scheme.into()))?;
                log_target(driver, &path, arguments, text)
            }
        }
    }
}

fn absolute(path: &str, whole: &str) -> Result<PathBuf, InvalidUri> {
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err(InvalidUri::Path(whole.into()))
    }
}

fn log_target(
    driver: LogDriver,
    path: &str,
    arguments: Vec<(String, String)>,
    whole: &str,
) -> Result<Stdio, InvalidUri> {
    /// `sun_path` is 108 bytes with its terminator.
    const SUN_PATH: usize = 107;
    if !path.is_empty() && !driver.may_have_path() {
        return Err(InvalidUri::NoPath(whole.into()));
    }
    let path = if path.is_empty() && !driver.has_file() {
        PathBuf::new()
    } else {
        absolute(path, whole)?
    };
    let mut options: BTreeMap<_, _> = arguments.into_iter().collect();
    let attach = options
        .remove("attach")
        .filter(|attach| attach.starts_with('/') && attach.len() <= SUN_PATH)
        .ok_or_else(|| InvalidUri::Attach(whole.into()))?;
    let details = LogDetails::take(&mut options);
    Ok(Stdio::Log(LogTarget {
        driver,
        path,
        attach: attach.into(),
        options,
        details,
    }))
}

fn parse_query(query: &str) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(&key.replace('+', " "))?, unescape(&value.replace('+', " "))?))
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let digits = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok()
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        out
    })
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.driver.name(), escape(&self.path.to_string_lossy()))?;
        write!(f, "?attach={}", escape(&self.attach.to_string_lossy()))?;
        let options = self.options.iter().map(|(key, value)| (key.clone(), value.as_str()));
        options
            .chain(self.details.arguments())
            .try_for_each(|(key, value)| write!(f, "&{}={}", escape(&key), escape(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_target_comes_back_as_it_was_printed() {
        let target = LogTarget {
            driver: LogDriver::JsonFile,
            path: "/var/lib/a b/x-json.log".into(),
            attach: "/run/davit/attach/1".into(),
            options: [("max-size".to_owned(), "10m&%".to_owned())].into(),
            details: LogDetails {
                name: "web".into(),
                command: "sh -c \"a & b\"".into(),
                attributes: [("a.b=c".to_owned(), String::new())].into(),
                ..LogDetails::default()
            },
        };
        assert_eq!(target.to_string().parse(), Ok(Stdio::Log(target)));
    }

    #[test]
    fn each_kind_of_uri_is_told_from_the_others() {
        assert_eq!("".parse(), Ok(Stdio::Null));
        assert_eq!("attach:".parse(), Ok(Stdio::Attached));
        assert_eq!("/run/f".parse(), Ok(Stdio::Fifo("/run/f".into())));
        assert_eq!("file:///l".parse(), Ok(Stdio::File("/l".into())));
        let arguments = vec![("a".to_owned(), "b c".to_owned()), ("d".to_owned(), String::new())];
        for (scheme, says_ready) in [("binary", false), ("binary-v2", true)] {
            assert_eq!(
                format!("{scheme}:///bin/l?a=b+c&d").parse(),
                Ok(Stdio::Binary {
                    path: "/bin/l".into(),
                    says_ready,
                    arguments: arguments.clone(),
                })
            );
        }
    }

    #[test]
    fn what_is_malformed_is_refused_by_name() {
        let check = |text: &str| text.parse::<Stdio>().unwrap_err();
        assert!(matches!(check("relative"), InvalidUri::Path(_)));
        assert_eq!(
            check("awslogs://?attach=/a").to_string(),
            "unsupported stdio scheme \"awslogs\": expected a FIFO's path, file, binary, binary-v2 or a log driver: \
             fluentd, gelf, journald, json-file, local, none, syslog"
        );
        assert!(matches!(check("json-file:///l"), InvalidUri::Attach(_)));
        assert!(matches!(check("fluentd:///path?attach=/a"), InvalidUri::NoPath(_)));
        assert!("journald:///socket?attach=/a".parse::<Stdio>().is_ok());
        assert!(matches!(check("json-file:///%zz?attach=/a"), InvalidUri::Escape(_)));
        assert!(matches!(
            check(&format!("none://?attach=/{}", "a".repeat(107))),
            InvalidUri::Attach(_)
        ));
    }
}
