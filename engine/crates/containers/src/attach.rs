//! The engine's end of a shim's attach socket.

use std::path::Path;

use davit_stdio::{Decoder, Frame, INPUT_WINDOW, MAX_PAYLOAD, Stream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
};

use crate::error::ContainerError;

type Result<T> = std::result::Result<T, ContainerError>;

/// An open attach socket.
#[derive(Debug)]
pub struct Connection {
    /// What the process writes.
    pub output: Output,
    /// What goes to the process.
    pub input: Input,
}

/// The reading end.
#[derive(Debug)]
pub struct Output {
    socket: OwnedReadHalf,
    decoder: Decoder,
    buffer: Box<[u8]>,
    frames: mpsc::Sender<Frame>,
    stdin_taken: watch::Sender<u64>,
}

/// The writing end. Closing it does not close the process's stdin.
#[derive(Debug)]
pub struct Input {
    frames: mpsc::Sender<Frame>,
    sent: u64,
    taken: watch::Receiver<u64>,
}

/// Some output.
#[derive(Debug)]
pub struct Chunk {
    /// Which stream.
    pub stream: Stream,
    /// Its bytes.
    pub data: Vec<u8>,
    end: u64,
}

impl Connection {
    /// Connects and waits until the shim says where output begins: `from` this offset, or from now on.
    pub async fn open(path: &Path, from: Option<u64>) -> Result<Self> {
        let failed = |error: std::io::Error| ContainerError::Attach(format!("{}: {error}", path.display()));
        let (mut read, mut write) = UnixStream::connect(path).await.map_err(failed)?.into_split();
        write
            .write_all(&Frame::Open { from }.to_bytes())
            .await
            .map_err(failed)?;
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 32 << 10].into_boxed_slice();
        let stdin = match next_frame(&mut read, &mut decoder, &mut buffer).await? {
            Some(Frame::Opened { stdin, .. }) => stdin,
            other => return Err(ContainerError::Attach(format!("the shim answered {other:?} to open"))),
        };
        let (frames, queue) = mpsc::channel(16);
        tokio::spawn(write_frames(write, queue));
        let (stdin_taken, taken) = watch::channel(stdin);
        Ok(Self {
            output: Output {
                socket: read,
                decoder,
                buffer,
                frames: frames.clone(),
                stdin_taken,
            },
            input: Input {
                frames,
                sent: stdin,
                taken,
            },
        })
    }
}

impl Output {
    /// The next output; `None` when the process has ended or the shim is gone.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            match next_frame(&mut self.socket, &mut self.decoder, &mut self.buffer).await? {
                Some(Frame::Output { stream, offset, data }) => {
                    let end = offset + data.len() as u64;
                    return Ok(Some(Chunk { stream, data, end }));
                }
                Some(Frame::StdinTaken { offset }) => drop(self.stdin_taken.send_replace(offset)),
                Some(Frame::OutputEnded { .. }) | None => return Ok(None),
                Some(_) => {}
            }
        }
    }

    /// Tells the shim that a chunk has been passed on: the process may write more.
    pub async fn taken(&self, chunk: &Chunk) {
        // A shim that is gone shows in `next`.
        let _ = self.frames.send(Frame::OutputTaken { offset: chunk.end }).await;
    }
}

impl Input {
    /// Appends to the process's stdin; waits while the process does not read.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(MAX_PAYLOAD) {
            let limit = (self.sent + piece.len() as u64).saturating_sub(INPUT_WINDOW as u64);
            let gone = |_| ContainerError::Attach("the process has ended".into());
            self.taken.wait_for(|taken| *taken >= limit).await.map_err(gone)?;
            self.sent += piece.len() as u64;
            self.send(Frame::Stdin {
                offset: None,
                data: piece.to_vec(),
            })
            .await?;
        }
        Ok(())
    }

    /// Closes the process's stdin, for all clients.
    pub async fn close(&self) -> Result<()> {
        self.send(Frame::StdinClose).await
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        let gone = |_| ContainerError::Attach("the shim has closed the connection".into());
        self.frames.send(frame).await.map_err(gone)
    }
}

async fn next_frame(socket: &mut OwnedReadHalf, decoder: &mut Decoder, buffer: &mut [u8]) -> Result<Option<Frame>> {
    loop {
        let frame = decoder
            .next_frame()
            .map_err(|error| ContainerError::Attach(error.to_string()))?;
        if frame.is_some() {
            return Ok(frame);
        }
        match socket.read(buffer).await {
            Ok(0) => return Ok(None),
            Ok(count) => decoder.push(&buffer[..count]),
            // The shim went away under us: its last words are what came before.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(ContainerError::Attach(error.to_string())),
        }
    }
}

/// One writer for both ends, so that frames never mix. Ends when both ends are dropped.
async fn write_frames(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Frame>) {
    let mut bytes = Vec::new();
    while let Some(frame) = queue.recv().await {
        bytes.clear();
        frame.encode(&mut bytes);
        while let Ok(frame) = queue.try_recv() {
            frame.encode(&mut bytes);
        }
        if socket.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
