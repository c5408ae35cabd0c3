//! `containerd.services.sandbox.v1`: the records of sandboxes, and [their controller](controller()).

use std::time::SystemTime;

use davit_containerd_api::services::sandbox::v1::{
    StoreCreateRequest, StoreCreateResponse, StoreDeleteRequest, StoreDeleteResponse, StoreGetRequest,
    StoreGetResponse, StoreListRequest, StoreListResponse, StoreUpdateRequest, StoreUpdateResponse,
    store_server::{Store, StoreServer},
};
use davit_metadata::filter::Filters;
use tonic::{Request, Response, Status};

use super::{blocking, limited, namespace, status};
use crate::{
    daemon::Daemon,
    kept::RecordError,
    sandboxes::{self, Sandboxes},
};

mod controller;
mod convert;

pub use controller::controller;

struct Service {
    sandboxes: Sandboxes,
}

/// The service.
pub fn store(daemon: &Daemon) -> StoreServer<impl Store> {
    limited!(StoreServer::new(Service {
        sandboxes: Sandboxes::new(daemon.database.clone()),
    }))
}

fn failed(error: RecordError) -> Status {
    status(error.kind(), error)
}

#[tonic::async_trait]
impl Store for Service {
    async fn create(&self, request: Request<StoreCreateRequest>) -> Result<Response<StoreCreateResponse>, Status> {
        let namespace = namespace(&request)?;
        let given = request.into_inner().sandbox.unwrap_or_default();
        let (id, record) = convert::from_wire(given, SystemTime::now());
        let (sandboxes, made) = (self.sandboxes.clone(), id.clone());
        let created = blocking(move || sandboxes.create(&namespace, &made, record)).await;
        Ok(Response::new(StoreCreateResponse {
            sandbox: Some(convert::to_wire(id, created.map_err(failed)?)),
        }))
    }

    async fn update(&self, request: Request<StoreUpdateRequest>) -> Result<Response<StoreUpdateResponse>, Status> {
        let namespace = namespace(&request)?;
        let StoreUpdateRequest { sandbox, fields } = request.into_inner();
        let (id, given) = convert::from_wire(sandbox.unwrap_or_default(), SystemTime::now());
        let (sandboxes, changed) = (self.sandboxes.clone(), id.clone());
        let updated = blocking(move || {
            let apply = |record: &mut _| sandboxes::apply(record, &given, &changed, &fields);
            sandboxes.update(&namespace, &changed, apply)
        })
        .await;
        Ok(Response::new(StoreUpdateResponse {
            sandbox: Some(convert::to_wire(id, updated.map_err(failed)?)),
        }))
    }

    async fn delete(&self, request: Request<StoreDeleteRequest>) -> Result<Response<StoreDeleteResponse>, Status> {
        let namespace = namespace(&request)?;
        let id = request.into_inner().sandbox_id;
        let sandboxes = self.sandboxes.clone();
        let deleted = blocking(move || sandboxes.delete(&namespace, &id)).await;
        deleted.map_err(failed)?;
        Ok(Response::new(StoreDeleteResponse {}))
    }

    async fn list(&self, request: Request<StoreListRequest>) -> Result<Response<StoreListResponse>, Status> {
        let namespace = namespace(&request)?;
        let filters = Filters::parse(&request.into_inner().filters)
            .map_err(|error| Status::invalid_argument(format!("{error}: invalid argument")))?;
        let sandboxes = self.sandboxes.clone();
        let found = blocking(move || sandboxes.list(&namespace, &filters)).await;
        let found = found.map_err(failed)?.into_iter();
        Ok(Response::new(StoreListResponse {
            list: found.map(|(id, record)| convert::to_wire(id, record)).collect(),
        }))
    }

    async fn get(&self, request: Request<StoreGetRequest>) -> Result<Response<StoreGetResponse>, Status> {
        let namespace = namespace(&request)?;
        let id = request.into_inner().sandbox_id;
        let (sandboxes, asked) = (self.sandboxes.clone(), id.clone());
        let record = blocking(move || sandboxes.get(&namespace, &asked)).await;
        Ok(Response::new(StoreGetResponse {
            sandbox: Some(convert::to_wire(id, record.map_err(failed)?)),
        }))
    }
}
