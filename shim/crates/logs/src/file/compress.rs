//! Compresses a rotated file on a thread of its own: it is work for a second or so, and output must go on flowing.
//!
//! At every moment there is a whole copy of the file, under its own name or with `.gz`, whenever the shim may end. A file that is
//! not compressed when the next is full stays as it is: nobody waits for gzip, and `max-file` still bounds the space.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use flate2::{Compression as Level, GzBuilder};
use jiff::Timestamp;

use super::{
    json::Stamp,
    rotating::{compressed, with_suffix},
};

/// A file that is being compressed, or was.
#[derive(Debug)]
pub struct Compression {
    thread: JoinHandle<()>,
    given_up: Arc<AtomicBool>,
}

impl Compression {
    /// Begins; a file that cannot be compressed stays as it is.
    pub fn start(path: PathBuf, last_time: Timestamp) -> Option<Self> {
        let given_up = Arc::new(AtomicBool::new(false));
        let stop = given_up.clone();
        let work = move || {
            if let Err(error) = compress(&path, last_time, &stop) {
                tracing::warn!(%error, path = %path.display(), "a rotated log is not compressed");
            }
        };
        let started = thread::Builder::new().name("compress".into()).spawn(work);
        started
            .inspect_err(|error| tracing::warn!(%error, "cannot start a thread that compresses a rotated log"))
            .ok()
            .map(|thread| Self { thread, given_up })
    }

    /// Whether it is done, well or not.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Gives up what is not done; from now on the file may be moved.
    pub fn end(self) {
        self.given_up.store(true, Ordering::Relaxed);
        // A panic of the thread has been reported, and left the file as it was.
        let _ = self.thread.join();
    }
}

/// A file that ends with an error when it is given up.
struct Source<'a>(File, &'a AtomicBool);

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("the next file is full already"));
        }
        self.0.read(buffer)
    }
}

/// `x` becomes `x.gz`. The header says when the last record was made, as Docker's does: a reader skips what is too old for it.
fn compress(path: &Path, last_time: Timestamp, given_up: &AtomicBool) -> io::Result<()> {
    let mut source = Source(File::open(path)?, given_up);
    let unfinished = with_suffix(path, ".gz.new");
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&unfinished)?;
    let extra = format!("{{\"lastTime\":\"{}\"}}", Stamp::default().of(last_time));
    let mut encoder = GzBuilder::new().extra(extra).write(target, Level::default());
    let written = io::copy(&mut source, &mut encoder).and_then(|_| encoder.finish()?.flush());
    if written.is_err() {
        // The disk may be full.
        let _ = fs::remove_file(&unfinished);
        return written;
    }
    fs::rename(&unfinished, compressed(path))?;
    fs::remove_file(path)
}
