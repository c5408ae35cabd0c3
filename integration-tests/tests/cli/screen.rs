//! A real terminal with a shell in it, through tmux.

use std::{path::PathBuf, process::Command};

use davit_integration_tests::{Run, Scratch, wait};

/// A tmux server with one window; it ends with this value.
pub struct Screen {
    socket: PathBuf,
}

impl Screen {
    /// A terminal of this size with a shell that waits for input.
    pub fn open(scratch: &Scratch, rows: u16, columns: u16) -> Self {
        let socket = scratch.join("tmux.sock");
        let screen = Self { socket };
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let session = [
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "env PS1='$ ' sh",
        ];
        screen.tmux(&session);
        screen.shows("$");
        screen
    }

    /// Types a line and presses enter.
    pub fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]);
        self.presses("Enter");
    }

    /// Presses one key, by tmux's name, and gives the program a moment to see it on its own.
    pub fn presses(&self, key: &str) {
        self.tmux(&["send-keys", key]);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }

    /// Changes the size of the terminal.
    pub fn resizes(&self, rows: u16, columns: u16) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until a line on the screen begins with `text`, so that a typed command is not taken for its answer.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        let mut last = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::until_true(&format!("the screen shows {text:?}"), 15, || {
                last = self.text();
                last.lines().any(|line| line.starts_with(text))
            });
        }));
        assert!(found.is_ok(), "the screen does not show {text:?}:\n{last}");
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(arguments)
            .finish()
            .ok()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .arg("kill-server")
            .output();
    }
}
