//! What every command works with.

use std::env;

use crate::{
    args::Global,
    client::{API_VERSION, Client, Host},
    command_error::CommandError,
};

/// One invocation's surroundings.
#[derive(Debug)]
pub struct Session {
    client: Client,
}

impl Session {
    /// Reads the environment and the global flags. No connection is made.
    pub fn open(global: &Global) -> Result<Self, CommandError> {
        let host = match global.host.as_slice() {
            [] => env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()),
            [one] => Some(one.clone()),
            _ => return Err(CommandError::usage("specify only one -H")),
        };
        let host = match host {
            Some(text) => text
                .parse()
                .map_err(|error: crate::client::HostError| CommandError::usage(error.to_string()))?,
            None => Host::default(),
        };
        refuse_tls(&host)?;
        let client = Client::new(host, api_version()?, global.is_debug())?;
        Ok(Self { client })
    }

    /// The engine.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The engine's calls that bollard makes.
    pub fn docker(&self) -> &bollard::Docker {
        self.client.docker()
    }
}

/// Whoever asks for TLS must not get a connection without it.
fn refuse_tls(host: &Host) -> Result<(), CommandError> {
    let asked = env::var("DOCKER_TLS_VERIFY").is_ok_and(|value| !value.is_empty());
    match host {
        Host::Tcp(_) if asked => {
            Err(CommandError::unsupported("TLS").hint("unset DOCKER_TLS_VERIFY to talk plain HTTP"))
        }
        _ => Ok(()),
    }
}

fn api_version() -> Result<(usize, usize), CommandError> {
    let Some(text) = env::var("DOCKER_API_VERSION").ok().filter(|text| !text.is_empty()) else {
        return Ok(API_VERSION);
    };
    let parsed = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parsed.ok_or_else(|| CommandError::usage(format!("invalid DOCKER_API_VERSION {text:?}: it looks like 1.44")))
}
