//! Authentication: basic credentials, and tokens from the service that a registry names.

use async_trait::async_trait;
use futures::StreamExt;
use reqwest::{Client, RequestBuilder, header::HeaderValue};
use serde::Deserialize;

use crate::{RegistryError, error::transport};

/// The most bytes that a token service may answer: whoever runs it is a stranger.
const TOKEN_LIMIT: usize = 1 << 20;

/// A registry's question for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthQuery {
    /// The registry.
    pub host: String,
    /// The image.
    pub reference: String,
    /// Its `WWW-Authenticate` headers.
    pub challenges: Vec<String>,
}

/// The answer to an [`AuthQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// None: go on as a stranger.
    None,
    /// A name and a password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        secret: String,
    },
    /// A token that the token service exchanges for another.
    Refresh(String),
    /// A whole `Authorization` header.
    Header(String),
}

/// Where credentials come from.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Answers a question.
    async fn get(&self, query: AuthQuery) -> Result<Credential, RegistryError>;
}

/// Knows nobody.
pub struct NoCredentials;

#[async_trait]
impl Credentials for NoCredentials {
    async fn get(&self, _: AuthQuery) -> Result<Credential, RegistryError> {
        Ok(Credential::None)
    }
}

/// One challenge of a `WWW-Authenticate` header.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

/// A token service's answer.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The `Authorization` header that meets a challenge; `None` where nothing can.
pub(crate) async fn authorize(
    http: &Client,
    query: &AuthQuery,
    repository: &str,
    credential: Credential,
) -> Result<Option<HeaderValue>, RegistryError> {
    if let Credential::Header(header) = &credential {
        return header_value(header.clone()).map(Some);
    }
    let challenges: Vec<Challenge> = query
        .challenges
        .iter()
        .filter_map(|text| Challenge::parse(text))
        .collect();
    let of = |scheme: &str| {
        challenges
            .iter()
            .find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
    };
    if let Some(bearer) = of("bearer") {
        let token = token(http, bearer, repository, credential).await?;
        return header_value(format!("Bearer {token}")).map(Some);
    }
    match (of("basic"), credential) {
        (Some(_), Credential::Basic { user, secret }) => basic(http, &user, &secret).map(Some),
        _ => Ok(None),
    }
}

async fn token(
    http: &Client,
    challenge: &Challenge,
    repository: &str,
    credential: Credential,
) -> Result<String, RegistryError> {
    let realm = challenge.get("realm").unwrap_or_default();
    let answer = |problem: String| RegistryError::Answer {
        url: realm.to_owned(),
        problem,
    };
    if !realm.starts_with("https://") && !realm.starts_with("http://") {
        return Err(answer("the challenge names no token service".into()));
    }
    let scope = challenge
        .get("scope")
        .map_or_else(|| format!("repository:{repository}:pull"), str::to_owned);
    let mut form = vec![("scope", scope.as_str())];
    form.extend(challenge.get("service").map(|service| ("service", service)));
    let request: RequestBuilder = match &credential {
        Credential::Refresh(secret) => {
            form.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "davit"),
                ("refresh_token", secret),
            ]);
            let kind = "application/x-www-form-urlencoded";
            http.post(realm)
                .header(reqwest::header::CONTENT_TYPE, kind)
                .body(encode(&form))
        }
        Credential::Basic { user, secret } => http.get(with_query(realm, &form)).basic_auth(user, Some(secret)),
        Credential::None | Credential::Header(_) => http.get(with_query(realm, &form)),
    };
    let response = request.send().await.map_err(|error| transport(&error))?;
    let status = response.status();
    if status.is_client_error() {
        return Err(RegistryError::Unauthorized {
            name: repository.into(),
            reason: format!("token service answered {status}"),
        });
    }
    let mut body = response.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| transport(&error))?);
        if bytes.len() > TOKEN_LIMIT {
            return Err(answer("token answer larger than 1 MiB".into()));
        }
    }
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| answer(error.to_string()))?;
    let tokens = [token.token, token.access_token];
    tokens
        .into_iter()
        .find(|token| !token.is_empty())
        .ok_or_else(|| answer("no token in it".into()))
}

/// Lets the HTTP client encode the header, so that nothing here has to know base64.
fn basic(http: &Client, user: &str, secret: &str) -> Result<HeaderValue, RegistryError> {
    let request = http.get("http://localhost/").basic_auth(user, Some(secret)).build();
    let request = request.map_err(|error| RegistryError::Credentials(error.to_string()))?;
    let header = request.headers().get(reqwest::header::AUTHORIZATION).cloned();
    header.ok_or_else(|| RegistryError::Credentials("no header made of them".into()))
}

fn header_value(text: String) -> Result<HeaderValue, RegistryError> {
    let mut value =
        HeaderValue::try_from(text).map_err(|_| RegistryError::Credentials("they do not fit into a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn with_query(realm: &str, form: &[(&str, &str)]) -> String {
    let separator = if realm.contains('?') { '&' } else { '?' };
    format!("{realm}{separator}{}", encode(form))
}

fn encode(form: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = form
        .iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl Challenge {
    /// Parses `Scheme key="value",key=value`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut challenge = Self {
            scheme: (!scheme.is_empty()).then(|| scheme.to_owned())?,
            parameters: Vec::new(),
        };
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim().trim_start_matches(',').trim().to_ascii_lowercase();
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquote(quoted)?,
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            challenge.parameters.push((key, value));
            rest = after;
        }
        Some(challenge)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

/// Reads to the closing quote; what follows it comes back too.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let text = r#"Bearer realm="https://auth.x/token",service="registry.x",scope="repository:a/b:pull,push""#;
        let challenge = Challenge::parse(text).unwrap();
        assert_eq!(challenge.scheme, "Bearer");
        assert_eq!(challenge.get("realm"), Some("https://auth.x/token"));
        assert_eq!(challenge.get("scope"), Some("repository:a/b:pull,push"));
        let basic = Challenge::parse(r#"Basic realm=simple , charset="UTF-8""#).unwrap();
        assert_eq!(
            (basic.get("realm"), basic.get("charset")),
            (Some("simple"), Some("UTF-8"))
        );
        assert_eq!(Challenge::parse("Negotiate").unwrap().parameters, []);
        assert_eq!(Challenge::parse(r#"Bearer realm="open"#), None);
        assert_eq!(Challenge::parse(""), None);
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            with_query(
                "http://a/t?x=1",
                &[("scope", "repository:a/b:pull"), ("service", "r x")]
            ),
            "http://a/t?x=1&scope=repository%3Aa%2Fb%3Apull&service=r%20x"
        );
    }
}
