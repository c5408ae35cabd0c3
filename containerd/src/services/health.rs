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

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
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
        Ok(Response::new(response(ServingStatus::Serving)))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // Who watches is told even that there is no such service: it might come.
        let status = match check(request.get_ref()) {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::ServiceUnknown,
        };
        // The state never changes: one message, then silence until the client goes.
        let messages = tokio_stream::once(Ok(response(status))).chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(messages)))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn asked(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest {
            service: service.into(),
        })
    }

    #[tokio::test]
    async fn an_unknown_service_is_not_found_but_can_be_watched() {
        let refused = Service.check(asked("x")).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::NotFound, "unknown service"));
        for (service, expected) in [("", ServingStatus::Serving), ("x", ServingStatus::ServiceUnknown)] {
            let mut watched = Service.watch(asked(service)).await.unwrap().into_inner();
            assert_eq!(watched.next().await.unwrap().unwrap().status(), expected);
        }
    }
}
