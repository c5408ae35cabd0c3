use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use davit_vocabulary::Digest;
use futures::{Stream, StreamExt};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RANGE, WWW_AUTHENTICATE},
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::{AuthQuery, Credentials, Reference, RegistryError, auth::authorize, error::transport};

const MANIFESTS: &str = "application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The most bytes that a manifest may have.
const MANIFEST_LIMIT: usize = 8 << 20;

/// The images of one name at one registry.
pub struct Repository {
    http: Client,
    base: String,
    reference: Reference,
    credentials: Arc<dyn Credentials>,
    authorization: Mutex<Option<HeaderValue>>,
}

/// What a name stands for at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The media type of the manifest or index.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// Where a registry keeps a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With the manifests and indexes.
    Manifest,
    /// With everything else.
    Blob,
}

/// Bytes on their way.
pub struct Download {
    /// Where the bytes begin: 0 where the registry cannot continue.
    pub offset: u64,
    response: Response,
}

struct Wish<'a> {
    method: Method,
    url: String,
    accept: &'a str,
    offset: u64,
}

impl Repository {
    pub(crate) fn new(http: Client, base: String, reference: Reference, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            http,
            base,
            reference,
            credentials,
            authorization: Mutex::new(None),
        }
    }

    /// The image that was asked for.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Asks what the name stands for.
    pub async fn resolve(&self) -> Result<Resolved, RegistryError> {
        let object = match (self.reference.digest(), self.reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_owned(),
            (None, None) => "latest".to_owned(),
        };
        let url = format!("{}/manifests/{object}", self.base);
        let head = self.send(Wish::new(Method::HEAD, url.clone(), MANIFESTS)).await;
        match head {
            Ok(response) => match self.resolved_by_headers(&response) {
                Some(resolved) => Ok(resolved),
                None => self.resolve_by_reading(url).await,
            },
            // Not every registry answers HEAD.
            Err(RegistryError::Status {
                status: 400 | 405 | 501,
                ..
            }) => self.resolve_by_reading(url).await,
            Err(RegistryError::NotFound(_)) => Err(RegistryError::NotFound(self.reference.to_string())),
            Err(error) => Err(error),
        }
    }

    fn resolved_by_headers(&self, response: &Response) -> Option<Resolved> {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let digest = header("docker-content-digest").and_then(|text| text.parse().ok());
        Some(Resolved {
            media_type: media_type(response)?,
            digest: self.reference.digest().cloned().or(digest)?,
            size: header(CONTENT_LENGTH.as_str())?.parse().ok().filter(|size| *size > 0)?,
        })
    }

    async fn resolve_by_reading(&self, url: String) -> Result<Resolved, RegistryError> {
        let response = self.send(Wish::new(Method::GET, url.clone(), MANIFESTS)).await?;
        let media_type = media_type(&response).ok_or_else(|| answer(&url, "no content type"))?;
        let mut body = response.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| transport(&error))?);
            if bytes.len() > MANIFEST_LIMIT {
                return Err(answer(&url, "manifest larger than 8 MiB"));
            }
        }
        let digest = Digest::sha256(Sha256::digest(&bytes).into());
        Ok(Resolved {
            media_type,
            digest: self.reference.digest().cloned().unwrap_or(digest),
            size: bytes.len() as u64,
        })
    }

    /// Begins to fetch a blob at `offset`.
    pub async fn fetch(
        &self,
        kind: Kind,
        media_type: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<Download, RegistryError> {
        let folder = match kind {
            Kind::Manifest => "manifests",
            Kind::Blob => "blobs",
        };
        let accept = if media_type.is_empty() {
            "*/*".to_owned()
        } else {
            format!("{media_type}, */*")
        };
        let mut wish = Wish::new(Method::GET, format!("{}/{folder}/{digest}", self.base), &accept);
        wish.offset = offset;
        let response = self.send(wish).await?;
        let offset = if response.status() == StatusCode::PARTIAL_CONTENT {
            offset
        } else {
            0
        };
        Ok(Download { offset, response })
    }

    /// Sends a request, again where it failed for a passing reason, and with credentials where the registry wants some.
    async fn send(&self, wish: Wish<'_>) -> Result<Response, RegistryError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            match self.send_authorized(&wish).await {
                Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                    tracing::info!(url = wish.url, %error, attempt, "trying the registry again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    async fn send_authorized(&self, wish: &Wish<'_>) -> Result<Response, RegistryError> {
        let used = self.authorization.lock().await.clone();
        let response = self.send_once(wish, used.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return wish.check(response, &self.reference);
        }
        let authorization = self.authorize(&response, used).await?;
        let response = self.send_once(wish, Some(authorization)).await?;
        wish.check(response, &self.reference)
    }

    async fn send_once(&self, wish: &Wish<'_>, authorization: Option<HeaderValue>) -> Result<Response, RegistryError> {
        let mut request = self
            .http
            .request(wish.method.clone(), &wish.url)
            .header(ACCEPT, wish.accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if wish.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", wish.offset));
        }
        request.send().await.map_err(|error| transport(&error))
    }

    /// Meets the registry's challenge, once for all requests that met it at the same time.
    async fn authorize(&self, refusal: &Response, used: Option<HeaderValue>) -> Result<HeaderValue, RegistryError> {
        let mut known = self.authorization.lock().await;
        if let Some(newer) = known.as_ref().filter(|newer| Some(*newer) != used.as_ref()) {
            return Ok(newer.clone());
        }
        let headers = refusal.headers().get_all(WWW_AUTHENTICATE).iter();
        let query = AuthQuery {
            host: self.reference.host().to_owned(),
            reference: self.reference.to_string(),
            challenges: headers
                .filter_map(|header| header.to_str().ok().map(str::to_owned))
                .collect(),
        };
        let credential = self.credentials.get(query.clone()).await?;
        let authorization = authorize(&self.http, &query, self.reference.path(), credential).await?;
        *known = authorization.clone();
        authorization.ok_or_else(|| self.unauthorized())
    }

    fn unauthorized(&self) -> RegistryError {
        RegistryError::Unauthorized {
            name: self.reference.to_string(),
            reason: "authorization failed: no basic auth credentials".into(),
        }
    }
}

impl<'a> Wish<'a> {
    fn new(method: Method, url: String, accept: &'a str) -> Self {
        Self {
            method,
            url,
            accept,
            offset: 0,
        }
    }

    /// Lets only answers through that have what was asked for.
    fn check(&self, response: Response, reference: &Reference) -> Result<Response, RegistryError> {
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound(self.url.clone())),
            StatusCode::UNAUTHORIZED => Err(RegistryError::Unauthorized {
                name: reference.to_string(),
                reason: "insufficient_scope: authorization failed".into(),
            }),
            StatusCode::FORBIDDEN => Err(RegistryError::Forbidden {
                url: self.url.clone(),
                reason: status.to_string(),
            }),
            _ => Err(RegistryError::Status {
                method: if self.method == Method::HEAD { "HEAD" } else { "GET" },
                url: self.url.clone(),
                status: status.as_u16(),
            }),
        }
    }
}

impl Download {
    /// The bytes.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, RegistryError>> + Send + Unpin {
        Box::pin(
            self.response
                .bytes_stream()
                .map(|chunk| chunk.map_err(|error| transport(&error))),
        )
    }
}

/// The media type of an answer, without parameters.
fn media_type(response: &Response) -> Option<String> {
    let text = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next().unwrap_or_default().trim();
    (!media_type.is_empty()).then(|| media_type.to_owned())
}

fn answer(url: &str, problem: &str) -> RegistryError {
    RegistryError::Answer {
        url: url.into(),
        problem: problem.into(),
    }
}
