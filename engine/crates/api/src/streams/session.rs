//! A client attached to a process: output out, input in, each at its own pace.

use std::time::Duration;

use davit_engine_containers::attach::{Chunk, Connection, Input, Output};
use davit_engine_spec::Attach;
use davit_stdio::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tracing::debug;

use super::{detach::DetachKeys, stdcopy};

/// How a client is attached.
#[derive(Debug)]
pub struct Session {
    /// Streams that it wants.
    pub attach: Attach,
    /// Whether the process has a terminal: output is not framed then.
    pub tty: bool,
    /// Whether the end of the client's input is the end of the process's.
    pub closes_stdin: bool,
    /// The keys that end the session.
    pub detach_keys: DetachKeys,
}

/// How long output may still come after an end of input that ends the session: what that input caused is on its way.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// Why input is over.
enum InputEnd {
    /// The process's stdin is closed; output goes on.
    Closed,
    /// The client's end of input leaves the process's stdin open, and ends the session.
    Left,
    /// The client has detached.
    Detached,
}

impl Session {
    /// Moves bytes until the process has ended, the client has gone, or it has detached.
    pub async fn run(
        self,
        connection: Connection,
        client_in: impl AsyncRead + Unpin,
        client_out: impl AsyncWrite + Unpin,
    ) {
        self.run_until(connection, client_in, client_out, std::future::ready(()))
            .await;
    }

    /// As `run`; when output has ended, the client's stream ends after `settled`.
    pub async fn run_until(
        self,
        connection: Connection,
        mut client_in: impl AsyncRead + Unpin,
        mut client_out: impl AsyncWrite + Unpin,
        settled: impl Future<Output = ()>,
    ) {
        let Self {
            attach,
            tty,
            closes_stdin,
            mut detach_keys,
        } = self;
        let Connection { mut output, mut input } = connection;
        let copy_out = copy_output(&mut output, &mut client_out, attach, tty);
        let copy_in = async {
            if !attach.stdin {
                return std::future::pending().await;
            }
            let detach_keys = tty.then_some(&mut detach_keys);
            match copy_input(&mut client_in, &mut input, closes_stdin && !tty, detach_keys).await {
                InputEnd::Closed => std::future::pending().await,
                InputEnd::Left => tokio::time::sleep(LAST_OUTPUT).await,
                InputEnd::Detached => {}
            }
        };
        let ended = async {
            copy_out.await;
            settled.await;
        };
        tokio::select! {
            () = ended => {}
            () = copy_in => {}
        }
        let _ = client_out.shutdown().await;
    }
}

/// Passes output on; each chunk is acknowledged when the client's socket has it, so that a slow client slows the process.
async fn copy_output(output: &mut Output, client: &mut (impl AsyncWrite + Unpin), attach: Attach, tty: bool) {
    loop {
        let chunk = match output.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => return debug!(%error, "an attach connection broke"),
        };
        if wanted(&chunk, attach) && write_chunk(client, &chunk, tty).await.is_err() {
            return;
        }
        output.taken(&chunk).await;
    }
}

fn wanted(chunk: &Chunk, attach: Attach) -> bool {
    match chunk.stream {
        Stream::Stdout => attach.stdout,
        Stream::Stderr => attach.stderr,
    }
}

async fn write_chunk(client: &mut (impl AsyncWrite + Unpin), chunk: &Chunk, tty: bool) -> std::io::Result<()> {
    if !tty {
        let stream = match chunk.stream {
            Stream::Stdout => stdcopy::STDOUT,
            Stream::Stderr => stdcopy::STDERR,
        };
        client.write_all(&stdcopy::header(stream, chunk.data.len())).await?;
    }
    client.write_all(&chunk.data).await?;
    client.flush().await
}

async fn copy_input(
    client: &mut (impl AsyncRead + Unpin),
    input: &mut Input,
    closes_stdin: bool,
    mut detach_keys: Option<&mut DetachKeys>,
) -> InputEnd {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = client.read(&mut buffer).await.unwrap_or(0);
        if count == 0 && closes_stdin {
            let _ = input.close().await;
            return InputEnd::Closed;
        }
        if count == 0 {
            return InputEnd::Left;
        }
        let (bytes, detached) = match &mut detach_keys {
            Some(keys) => keys.filter(&buffer[..count]),
            None => (buffer[..count].to_vec(), false),
        };
        if input.write(&bytes).await.is_err() {
            // The process reads no more; what it still writes is of interest.
            return InputEnd::Closed;
        }
        if detached {
            return InputEnd::Detached;
        }
    }
}
