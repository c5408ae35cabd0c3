use std::{sync::Arc, time::Duration};

use reqwest::{
    Client,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use crate::{Credentials, NoCredentials, Reference, RegistryError, Repository};

const CONNECT: Duration = Duration::from_secs(30);
/// A registry that sends nothing for so long is taken for gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How a registry is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Encrypted, but for registries on this machine.
    #[default]
    Default,
    /// Unencrypted.
    Http,
    /// Encrypted.
    Https,
}

/// A client of registries. Clones share its connections.
#[derive(Clone)]
pub struct Registry {
    http: Client,
    scheme: Scheme,
    credentials: Arc<dyn Credentials>,
}

impl Registry {
    /// A client that sends `headers` with every request.
    pub fn new(headers: &[(String, String)]) -> Result<Self, RegistryError> {
        // Another part of the process may have chosen a provider already; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let setup = |problem: &str| RegistryError::Setup(format!("header {name:?}: {problem}"));
            let key: HeaderName = name.parse().map_err(|_| setup("bad name"))?;
            map.append(key, HeaderValue::from_str(value).map_err(|_| setup("bad value"))?);
        }
        let http = Client::builder()
            .user_agent(concat!("davit/", env!("CARGO_PKG_VERSION")))
            .default_headers(map)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| RegistryError::Setup(error.to_string()))?;
        Ok(Self {
            http,
            scheme: Scheme::Default,
            credentials: Arc::new(NoCredentials),
        })
    }

    /// Speaks to registries in this way.
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// Gets credentials from there.
    pub fn with_credentials(self, credentials: Arc<dyn Credentials>) -> Self {
        Self { credentials, ..self }
    }

    /// The repository of an image.
    pub fn repository(&self, reference: Reference) -> Repository {
        let base = format!(
            "{}://{}/v2/{}",
            self.scheme_of(&reference),
            address(&reference),
            reference.path()
        );
        Repository::new(self.http.clone(), base, reference, self.credentials.clone())
    }

    fn scheme_of(&self, reference: &Reference) -> &'static str {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::Default if is_local(reference.host_name()) => "http",
            Scheme::Default | Scheme::Https => "https",
        }
    }
}

/// Where a registry really is.
fn address(reference: &Reference) -> &str {
    match reference.host() {
        "docker.io" => "registry-1.docker.io",
        host => host,
    }
}

/// Whether a host, without a port, is this machine: nothing can listen in between.
fn is_local(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_registries_of_this_machine_are_spoken_to_unencrypted() {
        for local in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["docker.io", "localhost.example.org", "10.0.0.1", "[2001:db8::1]"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
