//! `containerd.services.leases.v1.Leases`.

use davit_containerd_api::services::leases::v1::{
    AddResourceRequest, CreateRequest, CreateResponse, DeleteRequest, DeleteResourceRequest, Lease as WireLease,
    ListRequest, ListResourcesRequest, ListResourcesResponse, ListResponse, Resource as WireResource,
    leases_server::{Leases, LeasesServer},
};
use davit_images::{ImageError, Lease, Resource, Storage};
use tonic::{Request, Response, Status};

use super::{
    limited,
    storage::{filtered, filters, labels, run, scope, timestamp},
};

struct Service {
    storage: Storage,
}

/// The service.
pub fn service(storage: &Storage) -> LeasesServer<impl Leases> {
    limited!(LeasesServer::new(Service {
        storage: storage.clone(),
    }))
}

#[tonic::async_trait]
impl Leases for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let leases = self.storage.leases.clone();
        let lease = run(move || leases.create(&scope, &request.id, labels(request.labels))).await?;
        Ok(Response::new(CreateResponse {
            lease: Some(wire_lease(lease)),
        }))
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let storage = self.storage.clone();
        run(move || {
            storage.leases.delete(&scope, &request.id)?;
            if request.sync {
                storage.collect()?;
            } else {
                storage.note_removal();
            }
            Ok::<_, ImageError>(())
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let scope = scope(&request)?;
        let filters = filters(&request.into_inner().filters)?;
        let leases = self.storage.leases.clone();
        let found = run(move || leases.list(&scope)).await?;
        Ok(Response::new(ListResponse {
            leases: filtered(found, &filters).into_iter().map(wire_lease).collect(),
        }))
    }

    async fn add_resource(&self, request: Request<AddResourceRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let resource = resource(request.resource)?;
        let leases = self.storage.leases.clone();
        run(move || leases.add(&scope, &request.id, resource)).await?;
        Ok(Response::new(()))
    }

    async fn delete_resource(&self, request: Request<DeleteResourceRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let resource = resource(request.resource)?;
        let leases = self.storage.leases.clone();
        run(move || leases.remove(&scope, &request.id, &resource)).await?;
        Ok(Response::new(()))
    }

    async fn list_resources(
        &self,
        request: Request<ListResourcesRequest>,
    ) -> Result<Response<ListResourcesResponse>, Status> {
        let scope = scope(&request)?;
        let id = request.into_inner().id;
        let leases = self.storage.leases.clone();
        let resources = run(move || leases.resources(&scope, &id)).await?;
        let wire = |resource: Resource| WireResource {
            id: resource.id,
            r#type: resource.kind,
        };
        Ok(Response::new(ListResourcesResponse {
            resources: resources.into_iter().map(wire).collect(),
        }))
    }
}

fn resource(wire: Option<WireResource>) -> Result<Resource, Status> {
    let wire = wire.ok_or_else(|| Status::invalid_argument("resource must be given: invalid argument"))?;
    Ok(Resource {
        kind: wire.r#type,
        id: wire.id,
    })
}

fn wire_lease(lease: Lease) -> WireLease {
    WireLease {
        id: lease.id,
        created_at: timestamp(lease.created_at),
        labels: lease.labels.into_iter().collect(),
    }
}
