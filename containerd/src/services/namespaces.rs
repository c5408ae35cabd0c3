//! `containerd.services.namespaces.v1.Namespaces`.

use std::{collections::HashMap, sync::Arc};

use davit_containerd_api::{
    events::{NamespaceCreate, NamespaceDelete, NamespaceUpdate},
    services::namespaces::v1::{
        CreateNamespaceRequest, CreateNamespaceResponse, DeleteNamespaceRequest, GetNamespaceRequest,
        GetNamespaceResponse, ListNamespacesRequest, ListNamespacesResponse, Namespace as Message,
        UpdateNamespaceRequest, UpdateNamespaceResponse,
        namespaces_server::{Namespaces, NamespacesServer},
    },
};
use davit_metadata::{Database, Labels, StoreError, namespaces};
use davit_vocabulary::{ErrorKind, Namespace};
use tonic::{Request, Response, Status};

use super::{blocking, limited, status};
use crate::{daemon::Daemon, events::EventBus};

struct Service {
    database: Arc<Database>,
    events: EventBus,
}

/// The service; it needs no namespace header.
pub fn service(daemon: &Daemon) -> NamespacesServer<impl Namespaces> {
    limited!(NamespacesServer::new(Service {
        database: daemon.database.clone(),
        events: daemon.events.clone(),
    }))
}

fn failed(error: StoreError) -> Status {
    status(error.kind(), error)
}

fn given(message: Option<Message>) -> Result<(Namespace, HashMap<String, String>), Status> {
    let message = message.ok_or_else(|| Status::invalid_argument("namespace must be given: invalid argument"))?;
    Ok((parse(&message.name)?, message.labels))
}

fn parse(name: &str) -> Result<Namespace, Status> {
    name.parse()
        .map_err(|error| Status::invalid_argument(format!("{error}: invalid argument")))
}

/// An empty value is no label.
fn labels(given: HashMap<String, String>) -> Labels {
    given.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Applies a field mask of `labels.<key>`; without paths all labels are replaced.
fn changed(before: Labels, given: HashMap<String, String>, paths: &[String]) -> Result<Labels, Status> {
    if paths.is_empty() {
        return Ok(labels(given));
    }
    let mut after = before;
    for path in paths {
        let key = path
            .strip_prefix("labels.")
            .ok_or_else(|| Status::invalid_argument(format!("cannot update {path:?} field")))?;
        match given.get(key).filter(|value| !value.is_empty()) {
            Some(value) => after.insert(key.into(), value.clone()),
            None => after.remove(key),
        };
    }
    Ok(after)
}

#[tonic::async_trait]
impl Namespaces for Service {
    /// A namespace that does not exist yet has no labels: clients ask for its defaults before they make anything in it.
    async fn get(&self, request: Request<GetNamespaceRequest>) -> Result<Response<GetNamespaceResponse>, Status> {
        let name = request.into_inner().name;
        let (database, asked) = (self.database.clone(), name.clone());
        let found = blocking(move || database.read(|view| namespaces::labels(view, &asked))).await;
        let labels = match found {
            Err(error) if error.kind() == ErrorKind::NotFound => Labels::new(),
            found => found.map_err(failed)?,
        };
        let namespace = Some(Message {
            name,
            labels: labels.into_iter().collect(),
        });
        Ok(Response::new(GetNamespaceResponse { namespace }))
    }

    async fn list(&self, _: Request<ListNamespacesRequest>) -> Result<Response<ListNamespacesResponse>, Status> {
        let database = self.database.clone();
        let found = blocking(move || database.read(namespaces::list))
            .await
            .map_err(failed)?;
        let namespaces = found
            .into_iter()
            .map(|(name, labels)| Message {
                name,
                labels: labels.into_iter().collect(),
            })
            .collect();
        Ok(Response::new(ListNamespacesResponse { namespaces }))
    }

    async fn create(
        &self,
        request: Request<CreateNamespaceRequest>,
    ) -> Result<Response<CreateNamespaceResponse>, Status> {
        let message = request.into_inner().namespace;
        let (name, given) = given(message.clone())?;
        let (database, made) = (self.database.clone(), name.clone());
        blocking(move || database.write(|writer| writer.create_namespace(&made, labels(given))))
            .await
            .map_err(failed)?;
        let event = NamespaceCreate {
            name: name.to_string(),
            labels: message.clone().unwrap_or_default().labels,
        };
        self.events.publish(&name, "/namespaces/create", &event);
        Ok(Response::new(CreateNamespaceResponse { namespace: message }))
    }

    async fn update(
        &self,
        request: Request<UpdateNamespaceRequest>,
    ) -> Result<Response<UpdateNamespaceResponse>, Status> {
        let request = request.into_inner();
        let (name, given) = given(request.namespace)?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let database = self.database.clone();
        let updated = name.clone();
        let labels = blocking(move || {
            database.write(|writer| {
                let after = match namespaces::labels(writer, &updated) {
                    // Labelling a namespace makes it exist.
                    Err(StoreError::NoNamespace(_)) => {
                        let labels = changed(Labels::new(), given, &paths)?;
                        writer.create_namespace(&updated, labels.clone())?;
                        labels
                    }
                    before => {
                        let labels = changed(before?, given, &paths)?;
                        writer.set_namespace_labels(&updated, labels.clone())?;
                        labels
                    }
                };
                Ok::<_, Failure>(after)
            })
        })
        .await?;
        let event = NamespaceUpdate {
            name: name.to_string(),
            labels: labels.clone().into_iter().collect(),
        };
        self.events.publish(&name, "/namespaces/update", &event);
        let namespace = Some(Message {
            name: event.name,
            labels: event.labels,
        });
        Ok(Response::new(UpdateNamespaceResponse { namespace }))
    }

    async fn delete(&self, request: Request<DeleteNamespaceRequest>) -> Result<Response<()>, Status> {
        let name = parse(&request.into_inner().name)?;
        let (database, deleted) = (self.database.clone(), name.clone());
        blocking(move || database.write(|writer| writer.delete_namespace(&deleted)))
            .await
            .map_err(failed)?;
        let event = NamespaceDelete { name: name.to_string() };
        self.events.publish(&name, "/namespaces/delete", &event);
        Ok(Response::new(()))
    }
}

/// A status that a transaction may end with.
struct Failure(Box<Status>);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self(Box::new(failed(error)))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self(Box::new(status))
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        *failure.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_changes_the_labels_it_names_and_no_others() {
        let before: Labels = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
        let given: HashMap<String, String> = [("a".into(), "9".into()), ("c".into(), "3".into())].into();
        let paths = ["labels.a".to_owned(), "labels.b".to_owned()];
        let after = changed(before.clone(), given.clone(), &paths).unwrap();
        assert_eq!(after, [("a".into(), "9".into())].into());
        assert_eq!(changed(before.clone(), given, &[]).unwrap().len(), 2);
        assert!(changed(before, HashMap::new(), &["name".into()]).is_err());
    }
}
