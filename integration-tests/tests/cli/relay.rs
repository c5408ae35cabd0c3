//! A socket before an engine's own, whose answers to some requests come as late as a test wants.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use davit_integration_tests::wait;

/// Longer than any test needs.
const FORGOTTEN_S: u64 = 60;

/// What a test and its connections share.
struct Hold {
    /// In the path of a request whose answer is held back.
    pattern: &'static str,
    /// The first lines of those requests.
    asked: Mutex<Vec<String>>,
    holds: AtomicBool,
}

/// A relay that can hold answers back.
pub struct Relay {
    socket: PathBuf,
    hold: Arc<Hold>,
}

impl Relay {
    /// Listens at `socket` for clients of the engine at `engine`; what may be held back are the answers to requests with
    /// `pattern` in their paths.
    pub fn start(socket: PathBuf, engine: &Path, pattern: &'static str) -> Self {
        let listener = UnixListener::bind(&socket).expect("a free path");
        let hold = Arc::new(Hold {
            pattern,
            asked: Mutex::default(),
            holds: AtomicBool::new(false),
        });
        let (engine, held) = (engine.to_owned(), Arc::clone(&hold));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a listener accepts");
                let server = UnixStream::connect(&engine).expect("the engine listens");
                serve(client, server, &held);
            }
        });
        Self { socket, hold }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Waits until there was such a request.
    pub fn is_asked(&self) {
        wait::until_true(self.hold.pattern, 10, || !self.asked().is_empty());
    }

    /// The first lines of those requests that there were.
    pub fn asked(&self) -> Vec<String> {
        self.hold.asked.lock().expect("no panic").clone()
    }

    /// Holds the answers back from now on.
    pub fn hold(&self) {
        self.hold.holds.store(true, Ordering::Release);
    }

    /// Lets them go.
    pub fn release(&self) {
        self.hold.holds.store(false, Ordering::Release);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.release();
    }
}

fn serve(client: UnixStream, server: UnixStream, hold: &Arc<Hold>) {
    let twin = |stream: &UnixStream| stream.try_clone().expect("a descriptor");
    let (requests, to_server) = (twin(&client), twin(&server));
    let concerned = Arc::new(AtomicBool::new(false));
    let (asked, shared) = (Arc::clone(&concerned), Arc::clone(hold));
    thread::spawn(move || {
        copy(requests, to_server, |bytes| {
            let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            if line.contains(shared.pattern) {
                asked.store(true, Ordering::Release);
                shared.asked.lock().expect("no panic").push(line.into());
            }
        })
    });
    let hold = Arc::clone(hold);
    thread::spawn(move || {
        copy(server, client, |_| {
            let is_held = || concerned.load(Ordering::Acquire) && hold.holds.load(Ordering::Acquire);
            wait::until_true("the test is done", FORGOTTEN_S, || !is_held());
        })
    });
}

fn copy(mut from: UnixStream, mut to: UnixStream, mut seen: impl FnMut(&[u8])) {
    let mut bytes = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        seen(&bytes[..length]);
        if to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // A client that is gone, or an engine that has said everything: the other end is told.
    let _ = to.shutdown(Shutdown::Write);
}
