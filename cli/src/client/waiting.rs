//! The answer to `wait`: its headers say that the engine listens, its body comes when the container ends.

use http_body_util::BodyExt;
use hyper::{Response, body::Incoming};
use serde::Deserialize;

use crate::command_error::CommandError;

/// A container's end, still to come.
#[derive(Debug)]
pub struct Waiting {
    response: Response<Incoming>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ended {
    status_code: i64,
    error: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

impl Waiting {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        Self { response }
    }

    /// Waits for the end and gives the exit code.
    pub async fn exit_code(self) -> Result<i64, CommandError> {
        let gone = || CommandError::broken("the engine went away before the container ended");
        let body = self.response.into_body().collect().await.map_err(|_| gone())?;
        let body = body.to_bytes();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(gone());
        }
        let ended: Ended = serde_json::from_slice(&body)?;
        match ended.error {
            Some(failure) if !failure.message.is_empty() => Err(CommandError::engine(500, failure.message)),
            _ => Ok(ended.status_code),
        }
    }
}
