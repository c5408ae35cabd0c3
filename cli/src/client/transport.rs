//! Connections to the engine: one for each request, HTTP/1.1 over a unix or TCP socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use hyper::{Request, Response, Uri, body::Body, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::Host;
use crate::output::note;

/// No engine answers at the address. Travels inside an [`io::Error`], since bollard's errors must carry it too.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to the davit engine at {host}: {source}")]
pub struct Unreachable {
    /// Where it was expected.
    pub host: Host,
    /// Why it was not found.
    #[source]
    pub source: io::Error,
}

/// Sends requests to one engine.
#[derive(Debug)]
pub struct Transport {
    host: Host,
    trace: bool,
}

impl Transport {
    /// A transport to `host`; `trace` writes a line about each request to standard error.
    pub fn new(host: Host, trace: bool) -> Self {
        Self { host, trace }
    }

    /// Where the requests go.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Sends a request on a connection of its own. What its URI says about the host is ignored.
    pub async fn send<B>(&self, mut request: Request<B>) -> io::Result<Response<Incoming>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        self.address(&mut request)?;
        let described = self.trace.then(|| format!("{} {}", request.method(), request.uri()));
        let connection = self.connect().await?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(io::Error::other)?;
        // The driver ends with the connection. Its error is the sender's, or the body's, too.
        tokio::spawn(async move {
            let _ = driver.with_upgrades().await;
        });
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if let Some(described) = described {
            note(format_args!(
                "debug: {described}: {} in {:.1?}",
                response.status(),
                started.elapsed()
            ));
        }
        Ok(response)
    }

    fn address<B>(&self, request: &mut Request<B>) -> io::Result<()> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri = path.parse::<Uri>().map_err(io::Error::other)?;
        *request.uri_mut() = uri;
        let host = match &self.host {
            Host::Unix(_) => "localhost",
            Host::Tcp(address) => address,
        };
        let host = header::HeaderValue::from_str(host).map_err(io::Error::other)?;
        request.headers_mut().insert(header::HOST, host);
        let agent = header::HeaderValue::from_static(concat!("davit/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        Ok(())
    }

    async fn connect(&self) -> io::Result<Connection> {
        let connected = match &self.host {
            Host::Unix(path) => UnixStream::connect(path).await.map(Connection::Unix),
            Host::Tcp(address) => TcpStream::connect(address).await.and_then(|stream| {
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }),
        };
        connected.map_err(|source| {
            let host = self.host.clone();
            io::Error::new(source.kind(), Unreachable { host, source })
        })
    }
}

/// A stream to the engine.
#[derive(Debug)]
enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
}

macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Connection::Unix($stream) => $call,
            Connection::Tcp($stream) => $call,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
