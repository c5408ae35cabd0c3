//! `containerd.services.version.v1.Version`.

use davit_containerd_api::services::version::v1::{
    VersionResponse,
    version_server::{Version, VersionServer},
};
use tonic::{Request, Response, Status};

use super::limited;

struct Service;

/// The service; it needs no namespace.
pub fn service() -> VersionServer<impl Version> {
    limited!(VersionServer::new(Service))
}

#[tonic::async_trait]
impl Version for Service {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: crate::version::API.into(),
            revision: String::new(),
        }))
    }
}
