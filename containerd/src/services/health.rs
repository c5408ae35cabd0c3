//! `grpc.health.v1.Health`: the daemon serves as soon as it answers.

use std::pin::Pin;

use davit_containerd_api::health::v1::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::limited;

struct Service;

/// The service; it needs no namespace.
pub fn service() -> HealthServer<impl Health> {
    limited!(HealthServer::new(Service))
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse {
        status: ServingStatus::Serving.into(),
    }
}

/// The whole server alone has a health; no service has one of its own.
fn check(request: &HealthCheckRequest) -> Result<(), Status> {
    match request.service.as_str() {
        "" => Ok(()),
        _ => Err(Status::not_found("unknown service")),
    }
}

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        check(request.get_ref())?;
        Ok(Response::new(serving()))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        check(request.get_ref())?;
        // The state never changes: one message, then silence until the client goes.
        let messages = tokio_stream::once(Ok(serving())).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(messages)))
    }
}
