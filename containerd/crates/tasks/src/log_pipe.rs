//! The FIFO that a shim logs to.

use std::{io, path::Path};

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{OpenOptions, Receiver},
    task::JoinHandle,
};

use crate::Bundle;

/// The longest piece of a log that is passed on at once.
const LONGEST_LINE: usize = 16 << 10;

/// Reads what a shim logs and passes it on as log of this daemon, so that the shim never waits for a reader.
#[derive(Debug)]
pub(crate) struct LogPipe {
    reader: JoinHandle<()>,
}

impl LogPipe {
    /// Opens the bundle's FIFO `log`, making it where it is missing.
    pub(crate) fn open(bundle: &Bundle) -> io::Result<Self> {
        let pipe = open_fifo(&bundle.file("log"))?;
        let id = format!("{}/{}", bundle.namespace, bundle.id);
        Ok(Self {
            reader: tokio::spawn(pass_on(pipe, id)),
        })
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Opened for writing too: with a writer of its own it never ends, however often shims come and go.
fn open_fifo(path: &Path) -> io::Result<Receiver> {
    match mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    OpenOptions::new().read_write(true).open_receiver(path)
}

async fn pass_on(mut pipe: Receiver, id: String) {
    let mut held = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(length) => held.extend_from_slice(&buffer[..length]),
            Err(error) => return tracing::warn!(shim = id, %error, "read shim log"),
        }
        for line in take_lines(&mut held) {
            tracing::info!(target: "shim", shim = id, "{line}");
        }
    }
}

/// Takes the whole lines out of `held`, and what has grown too long without an end.
fn take_lines(held: &mut Vec<u8>) -> Vec<String> {
    let end = match held.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => last + 1,
        None if held.len() >= LONGEST_LINE => held.len(),
        None => return Vec::new(),
    };
    let taken: Vec<u8> = held.drain(..end).collect();
    let text = String::from_utf8_lossy(&taken);
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_passed_on_unless_one_grows_too_long() {
        let mut held = b"one\ntwo\nthr".to_vec();
        assert_eq!(take_lines(&mut held), ["one", "two"]);
        assert_eq!(held, b"thr");
        assert!(take_lines(&mut held).is_empty());
        held.resize(LONGEST_LINE, b'x');
        assert_eq!(take_lines(&mut held).len(), 1);
        assert!(held.is_empty());
    }
}
