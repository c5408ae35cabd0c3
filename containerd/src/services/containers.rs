//! `containerd.services.containers.v1.Containers`.

use std::{pin::Pin, time::SystemTime};

use davit_containerd_api::{
    events::{ContainerCreate, ContainerDelete, container_create},
    services::containers::v1::{
        Container, CreateContainerRequest, CreateContainerResponse, DeleteContainerRequest, GetContainerRequest,
        GetContainerResponse, ListContainerMessage, ListContainersRequest, ListContainersResponse,
        UpdateContainerRequest, UpdateContainerResponse,
        containers_server::{Containers as Api, ContainersServer},
    },
};
use davit_metadata::filter::Filters;
use davit_vocabulary::Namespace;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{blocking, limited, namespace, status};
use crate::{
    containers::{self, Containers},
    daemon::Daemon,
    events::EventBus,
    kept::RecordError,
};

mod convert;

struct Service {
    containers: Containers,
    events: EventBus,
}

/// The service.
pub fn service(daemon: &Daemon) -> ContainersServer<impl Api> {
    limited!(ContainersServer::new(Service {
        containers: Containers::new(daemon.database.clone()),
        events: daemon.events.clone(),
    }))
}

fn failed(error: RecordError) -> Status {
    status(error.kind(), error)
}

impl Service {
    async fn found(&self, namespace: Namespace, filters: &[String]) -> Result<Vec<Container>, Status> {
        let filters =
            Filters::parse(filters).map_err(|error| Status::invalid_argument(format!("{error}: invalid argument")))?;
        let containers = self.containers.clone();
        let found = blocking(move || containers.list(&namespace, &filters))
            .await
            .map_err(failed)?;
        Ok(found
            .into_iter()
            .map(|(id, record)| convert::to_wire(id, record))
            .collect())
    }
}

#[tonic::async_trait]
impl Api for Service {
    type ListStreamStream = Pin<Box<dyn Stream<Item = Result<ListContainerMessage, Status>> + Send>>;

    async fn get(&self, request: Request<GetContainerRequest>) -> Result<Response<GetContainerResponse>, Status> {
        let namespace = namespace(&request)?;
        let id = request.into_inner().id;
        let (containers, asked) = (self.containers.clone(), id.clone());
        let record = blocking(move || containers.get(&namespace, &asked))
            .await
            .map_err(failed)?;
        Ok(Response::new(GetContainerResponse {
            container: Some(convert::to_wire(id, record)),
        }))
    }

    async fn list(&self, request: Request<ListContainersRequest>) -> Result<Response<ListContainersResponse>, Status> {
        let namespace = namespace(&request)?;
        let containers = self.found(namespace, &request.into_inner().filters).await?;
        Ok(Response::new(ListContainersResponse { containers }))
    }

    async fn list_stream(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<Self::ListStreamStream>, Status> {
        let namespace = namespace(&request)?;
        let containers = self.found(namespace, &request.into_inner().filters).await?;
        let messages = containers.into_iter().map(|container| {
            Ok(ListContainerMessage {
                container: Some(container),
            })
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn create(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let namespace = namespace(&request)?;
        let given = request.into_inner().container.unwrap_or_default();
        let (id, record) = convert::from_wire(given, SystemTime::now());
        let (containers, of, made) = (self.containers.clone(), namespace.clone(), id.clone());
        let record = blocking(move || containers.create(&of, &made, record))
            .await
            .map_err(failed)?;
        let container = convert::to_wire(id, record);
        let runtime = container.runtime.clone().unwrap_or_default();
        let event = ContainerCreate {
            id: container.id.clone(),
            image: container.image.clone(),
            runtime: Some(container_create::Runtime {
                name: runtime.name,
                options: runtime.options,
            }),
        };
        self.events.publish(&namespace, "/containers/create", &event);
        Ok(Response::new(CreateContainerResponse {
            container: Some(container),
        }))
    }

    async fn update(
        &self,
        request: Request<UpdateContainerRequest>,
    ) -> Result<Response<UpdateContainerResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let given = request.container.unwrap_or_default();
        if given.id.is_empty() {
            return Err(Status::invalid_argument("Container.ID required"));
        }
        let paths = request.update_mask.unwrap_or_default().paths;
        let (id, given) = convert::from_wire(given, SystemTime::now());
        let (containers, of, updated) = (self.containers.clone(), namespace.clone(), id.clone());
        let change = move || {
            let apply = |record: &mut _| convert::apply(record, given, &updated, &paths);
            containers.update(&of, &updated, apply)
        };
        let record = blocking(change).await.map_err(failed)?;
        let event = containers::updated(id.clone(), &record);
        self.events.publish(&namespace, "/containers/update", &event);
        Ok(Response::new(UpdateContainerResponse {
            container: Some(convert::to_wire(id, record)),
        }))
    }

    async fn delete(&self, request: Request<DeleteContainerRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let id = request.into_inner().id;
        let (containers, of, deleted) = (self.containers.clone(), namespace.clone(), id.clone());
        blocking(move || containers.delete(&of, &deleted))
            .await
            .map_err(failed)?;
        self.events
            .publish(&namespace, "/containers/delete", &ContainerDelete { id });
        Ok(Response::new(()))
    }
}
