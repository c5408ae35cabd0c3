//! A socket before an engine's own, whose answers to a start come as late as a test wants.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use davit_integration_tests::wait;

/// Longer than any test needs.
const FORGOTTEN_S: u64 = 60;

/// What a test and its connections share.
#[derive(Default)]
struct Hold {
    asked: AtomicBool,
    released: AtomicBool,
}

/// A relay that holds back the answer to a start.
pub struct Relay {
    socket: PathBuf,
    hold: Arc<Hold>,
}

impl Relay {
    /// Listens at `socket` for clients of the engine at `engine`.
    pub fn start(socket: PathBuf, engine: &Path) -> Self {
        let listener = UnixListener::bind(&socket).expect("a free path");
        let hold = Arc::<Hold>::default();
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

    /// Waits until a container is to be started.
    pub fn is_asked_to_start(&self) {
        wait::until_true("a start", 10, || self.hold.asked.load(Ordering::Acquire));
    }

    /// Lets the answer go.
    pub fn release(&self) {
        self.hold.released.store(true, Ordering::Release);
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
    let starts = Arc::new(AtomicBool::new(false));
    let (asked, shared) = (Arc::clone(&starts), Arc::clone(hold));
    thread::spawn(move || {
        copy(requests, to_server, |bytes| {
            if bytes.starts_with(b"POST") && bytes.windows(7).any(|part| part == b"/start ") {
                asked.store(true, Ordering::Release);
                shared.asked.store(true, Ordering::Release);
            }
        })
    });
    let hold = Arc::clone(hold);
    thread::spawn(move || {
        copy(server, client, |_| {
            if starts.load(Ordering::Acquire) {
                wait::until_true("the test is done", FORGOTTEN_S, || {
                    hold.released.load(Ordering::Acquire)
                });
            }
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
