//! The streams that a request asks for.

use davit_stdio::{LogTarget, Stdio};

use super::StdioError;

/// Checked streams of one process.
#[derive(Debug, Clone)]
pub struct StdioRequest {
    /// The process has a terminal; then stdout is all output.
    pub terminal: bool,
    /// Where input comes from.
    pub stdin: Stdio,
    /// Where output goes.
    pub stdout: Stdio,
    /// Where errors go; nowhere with a terminal.
    pub stderr: Stdio,
    /// The log driver of both, if they have one.
    pub log: Option<LogTarget>,
    /// stdin, stdout and stderr as they were given, for those who ask.
    pub texts: [String; 3],
}

impl StdioRequest {
    /// Checks URIs.
    pub fn new(terminal: bool, texts: [String; 3]) -> Result<Self, StdioError> {
        let [stdin, stdout, stderr] = [texts[0].parse()?, texts[1].parse()?, texts[2].parse()?];
        let request = Self {
            terminal,
            log: log_of(&stdout),
            stdin,
            stdout,
            stderr,
            texts,
        };
        request.check()?;
        Ok(request)
    }

    /// Whether input arrives on the attach socket.
    pub fn stdin_attached(&self) -> bool {
        self.stdin == Stdio::Attached
    }

    fn check(&self) -> Result<(), StdioError> {
        let [stdin, stdout, stderr] = &self.texts;
        let refuse = |stream, uri: &String, reason| {
            Err(StdioError::Unsupported {
                stream,
                uri: uri.clone(),
                reason,
            })
        };
        match &self.stdin {
            Stdio::Null | Stdio::Fifo(_) => {}
            Stdio::Attached if self.log.is_some() => {}
            Stdio::Attached => return refuse("stdin", stdin, "stdout names no attach socket"),
            _ => return refuse("stdin", stdin, "expected a FIFO, attach: or nothing"),
        }
        if self.stdout == Stdio::Attached {
            return refuse("stdout", stdout, "attach: is for stdin");
        }
        match &self.stderr {
            Stdio::Attached => refuse("stderr", stderr, "attach: is for stdin"),
            Stdio::Log(target) if Some(target) != self.log.as_ref() => {
                refuse("stderr", stderr, "a log driver must be the same for stdout and stderr")
            }
            Stdio::Binary { .. } if self.stderr != self.stdout => refuse(
                "stderr",
                stderr,
                "a logging program must be the same for stdout and stderr",
            ),
            _ => Ok(()),
        }
    }
}

fn log_of(stdout: &Stdio) -> Option<LogTarget> {
    match stdout {
        Stdio::Log(target) => Some(target.clone()),
        _ => None,
    }
}
