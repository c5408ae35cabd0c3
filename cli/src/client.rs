//! The Docker API as this command line uses it.
//!
//! [`bollard`] makes the ordinary calls. The rest goes out as plain requests over the same [`Transport`]: answers whose bytes
//! matter (`inspect`), streams that bollard would decode wrongly (a terminal's raw bytes), connections that are upgraded and
//! closed one half at a time (`attach`, `exec`), and calls whose headers must have arrived before the next step (`wait`).

mod hijack;
mod host;
mod path;
mod transport;
mod waiting;

use std::{fmt::Write, rc::Rc, sync::Arc};

use bollard::{ClientVersion, Docker};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use serde::{Serialize, de::DeserializeOwned};

pub use hijack::Hijacked;
pub use host::{Host, HostError};
pub use path::{container_name, encode, image_name};
pub use transport::{Transport, Unreachable};
pub use waiting::Waiting;

use crate::command_error::CommandError;

/// The version this client speaks where nobody asks for another: every engine since Docker 25 does too, so that no request
/// has to be spent on asking.
pub const API_VERSION: (usize, usize) = (1, 44);

/// bollard gives up on an answer after this many seconds. `stop --time` and `wait` may take any time, so it never does.
const NO_TIMEOUT: u64 = 10 * 365 * 24 * 3600;

/// A connection to an engine, made when it is first needed.
#[derive(Debug, Clone)]
pub struct Client {
    docker: Rc<Docker>,
    transport: Arc<Transport>,
    version: (usize, usize),
}

impl Client {
    /// A client of the engine at `host`. Nothing is sent yet.
    pub fn new(host: Host, version: (usize, usize), trace: bool) -> Result<Self, CommandError> {
        let transport = Arc::new(Transport::new(host, trace));
        let shared = Arc::clone(&transport);
        let send = move |request: bollard::BollardRequest| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
            let transport = Arc::clone(&shared);
            Box::pin(async move {
                let sent = transport.send(request).await;
                sent.map_err(|err| bollard::errors::Error::IOError { err })
            })
        };
        let client_version = ClientVersion {
            major_version: version.0,
            minor_version: version.1,
        };
        let docker = Docker::connect_with_custom_transport(send, Some("http://engine"), NO_TIMEOUT, &client_version)?;
        Ok(Self {
            docker: Rc::new(docker),
            transport,
            version,
        })
    }

    /// The calls that bollard makes.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where the engine is.
    pub fn host(&self) -> &Host {
        self.transport.host()
    }

    /// The version of the API in the requests.
    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// Sends a request without a body and hands back the answer when it is a good one.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Response<Incoming>, CommandError> {
        let request = self.build(method, path, query, Bytes::new())?;
        checked(self.transport.send(request).await?).await
    }

    /// The exact bytes of an answer.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Bytes, CommandError> {
        let response = self.request(Method::GET, path, query).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// An answer as JSON.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, CommandError> {
        Ok(serde_json::from_slice(&self.get(path, query).await?)?)
    }

    /// Sends JSON and reads JSON.
    pub async fn post_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<T, CommandError> {
        let request = self.build(Method::POST, path, query, serde_json::to_vec(body)?.into())?;
        let response = checked(self.transport.send(request).await?).await?;
        Ok(serde_json::from_slice(
            &response.into_body().collect().await?.to_bytes(),
        )?)
    }

    /// Sends JSON and expects nothing but success.
    pub async fn post(&self, path: &str, query: &[(&str, &str)], body: &impl Serialize) -> Result<(), CommandError> {
        let request = self.build(Method::POST, path, query, serde_json::to_vec(body)?.into())?;
        checked(self.transport.send(request).await?).await?;
        Ok(())
    }

    /// Sends a request and takes the connection over.
    pub async fn hijack(
        &self,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
        terminal: bool,
    ) -> Result<Hijacked, CommandError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)?.into(),
            None => Bytes::new(),
        };
        let mut request = self.build(Method::POST, path, query, body)?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("tcp"));
        Hijacked::take(checked(self.transport.send(request).await?).await?, terminal).await
    }

    /// Asks to be told of a container's end. When this returns the engine is listening, so the container may be started.
    pub async fn wait(&self, container: &str, condition: &str) -> Result<Waiting, CommandError> {
        let path = format!("/containers/{}/wait", encode(container));
        let response = self.request(Method::POST, &path, &[("condition", condition)]).await?;
        Ok(Waiting::new(response))
    }

    fn build(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CommandError> {
        let mut uri = format!("/v{}{path}", self.version());
        for (at, (key, value)) in query.iter().enumerate() {
            let _ = write!(uri, "{}{key}={}", if at == 0 { '?' } else { '&' }, encode(value));
        }
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(request.body(Full::new(body))?)
    }
}

/// Passes good answers on and turns the others into errors with the engine's own words.
async fn checked(response: Response<Incoming>) -> Result<Response<Incoming>, CommandError> {
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS || status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let body = response.into_body().collect().await?.to_bytes();
    Err(CommandError::engine(status.as_u16(), message(&body)))
}

fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
