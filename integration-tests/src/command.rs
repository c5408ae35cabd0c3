//! Running a program to its end, with an error that shows what it printed.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

/// A program's end: status and both streams as text.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; 128 + n where signal n ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command line, for messages.
    pub line: String,
}

impl Finished {
    /// Panics with both streams unless the program exited with 0; returns its trimmed output.
    #[track_caller]
    pub fn ok(self) -> String {
        self.code_is(0).stdout.trim_end().to_owned()
    }

    /// Panics with both streams unless the exit code is `code`.
    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "{}\nexited with {} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.line,
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Panics unless standard error holds `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "{}\nstderr lacks {text:?}:\n{}",
            self.line,
            self.stderr
        );
        self
    }
}

/// Runs a command to its end.
pub trait Run {
    /// Runs it with nothing on standard input.
    fn finish(&mut self) -> Finished;

    /// Runs it with `input` on standard input.
    fn finish_with(&mut self, input: &[u8]) -> Finished;
}

impl Run for Command {
    #[track_caller]
    fn finish(&mut self) -> Finished {
        let line = format!("{self:?}");
        let output = self
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        finished(line, output)
    }

    #[track_caller]
    fn finish_with(&mut self, input: &[u8]) -> Finished {
        let line = format!("{self:?}");
        self.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let input = input.to_vec();
        // A program may end without reading its input, so a failed write is no failure of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child
            .wait_with_output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        writer.join().expect("the writer does not panic");
        finished(line, output)
    }
}

fn finished(line: String, output: Output) -> Finished {
    use std::os::unix::process::ExitStatusExt;
    let status = output.status;
    Finished {
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        line,
    }
}
