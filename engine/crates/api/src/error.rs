//! From an error to what a client of the Docker API reads.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use davit_engine_containers::ContainerError;
use davit_engine_images::{ImageError, InvalidReference};
use davit_engine_spec::SpecError;
use davit_vocabulary::ErrorKind;
use serde_json::json;

/// A refused call: a status and Docker's `{"message": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: StatusCode,
    /// For the user.
    pub message: String,
}

impl ApiError {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            message: message.into(),
        }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 501, naming what is not there.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(
            ErrorKind::Unimplemented,
            format!("{what} is not supported by this engine yet"),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_MODIFIED {
            return self.status.into_response();
        }
        if self.status.is_server_error() {
            tracing::warn!(status = self.status.as_u16(), message = self.message, "a call failed");
        }
        (self.status, Json(json!({ "message": self.message }))).into_response()
    }
}

impl From<ContainerError> for ApiError {
    fn from(error: ContainerError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<SpecError> for ApiError {
    fn from(error: SpecError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<InvalidReference> for ApiError {
    fn from(error: InvalidReference) -> Self {
        Self::invalid(error.to_string())
    }
}
