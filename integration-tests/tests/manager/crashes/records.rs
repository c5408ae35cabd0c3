//! Records of each kind are there whole, or not at all.

use std::{collections::HashMap, path::Path};

use davit_containerd_api::{
    services::{
        containers::v1::{
            Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, UpdateContainerRequest,
            container::Runtime, containers_client::ContainersClient,
        },
        namespaces::v1::{
            CreateNamespaceRequest, DeleteNamespaceRequest, GetNamespaceRequest, Namespace, UpdateNamespaceRequest,
            namespaces_client::NamespacesClient,
        },
        sandbox::v1::{
            StoreCreateRequest, StoreDeleteRequest, StoreGetRequest, StoreUpdateRequest, store_client::StoreClient,
        },
    },
    types::{Sandbox, sandbox},
};
use prost_types::{Any, FieldMask};
use tonic::{Code, Status};

use super::{
    super::{channel, journal::block_on},
    case::Case,
};

/// A kind of record, which has one label.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Container,
    Namespace,
    Sandbox,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug)]
enum Change {
    Made,
    Labelled,
    Removed,
}

/// Each kind of record is made, changed and removed: what was committed is there, all else is not.
pub fn are_whole(case: &mut Case) {
    let is_committed = case.point == "manager.store.committed";
    let id = case.id.clone();
    for kind in [Kind::Container, Kind::Namespace, Kind::Sandbox] {
        let mut before = None;
        for (change, after) in [
            (Change::Made, Some("Made")),
            (Change::Labelled, Some("Labelled")),
            (Change::Removed, None),
        ] {
            case.die_of(|client| kind.apply(client.socket, &id, change).unwrap_err());
            let found = kind.label(case.manager().socket(), &id);
            let expected = if is_committed { after } else { before };
            assert_eq!(found.as_deref(), expected, "{kind:?} {change:?} at {}", case.point);
            if !is_committed {
                let again = kind.apply(case.manager().socket(), &id, change);
                again.unwrap_or_else(|status| panic!("{kind:?} {change:?}: {status}"));
            }
            before = after;
        }
    }
    case.converges(&[None], &[&[]]);
}

impl Kind {
    fn apply(self, socket: &Path, id: &str, change: Change) -> Result<(), Status> {
        let labels = HashMap::from([("l".into(), format!("{change:?}"))]);
        let mask = Some(FieldMask {
            paths: vec!["labels".into()],
        });
        block_on(async {
            let channel = channel::to(socket).await;
            match self {
                Self::Container => {
                    let mut client = ContainersClient::with_interceptor(channel, channel::in_the_namespace);
                    let container = Some(container(id, labels));
                    match change {
                        Change::Made => client.create(CreateContainerRequest { container }).await.map(drop),
                        Change::Labelled => {
                            let request = UpdateContainerRequest {
                                container,
                                update_mask: mask,
                            };
                            client.update(request).await.map(drop)
                        }
                        Change::Removed => client.delete(DeleteContainerRequest { id: id.into() }).await.map(drop),
                    }
                }
                Self::Namespace => {
                    let mut client = NamespacesClient::new(channel);
                    let namespace = Some(Namespace {
                        name: id.into(),
                        labels,
                    });
                    match change {
                        Change::Made => client.create(CreateNamespaceRequest { namespace }).await.map(drop),
                        Change::Labelled => {
                            let request = UpdateNamespaceRequest {
                                namespace,
                                update_mask: None,
                            };
                            client.update(request).await.map(drop)
                        }
                        Change::Removed => client
                            .delete(DeleteNamespaceRequest { name: id.into() })
                            .await
                            .map(drop),
                    }
                }
                Self::Sandbox => {
                    let mut client = StoreClient::with_interceptor(channel, channel::in_the_namespace);
                    let sandbox = Some(sandbox(id, labels));
                    match change {
                        Change::Made => client.create(StoreCreateRequest { sandbox }).await.map(drop),
                        Change::Labelled => {
                            let request = StoreUpdateRequest {
                                sandbox,
                                fields: vec!["labels".into()],
                            };
                            client.update(request).await.map(drop)
                        }
                        Change::Removed => {
                            let request = StoreDeleteRequest { sandbox_id: id.into() };
                            client.delete(request).await.map(drop)
                        }
                    }
                }
            }
        })
    }

    /// The label of the record; `None` where there is none. Every namespace can be asked for.
    fn label(self, socket: &Path, id: &str) -> Option<String> {
        let found = block_on(async {
            let channel = channel::to(socket).await;
            match self {
                Self::Container => {
                    let mut client = ContainersClient::with_interceptor(channel, channel::in_the_namespace);
                    let answer = client.get(GetContainerRequest { id: id.into() }).await?;
                    Ok(answer.into_inner().container.expect("a container").labels)
                }
                Self::Namespace => {
                    let mut client = NamespacesClient::new(channel);
                    let answer = client.get(GetNamespaceRequest { name: id.into() }).await?;
                    Ok(answer.into_inner().namespace.expect("a namespace").labels)
                }
                Self::Sandbox => {
                    let mut client = StoreClient::with_interceptor(channel, channel::in_the_namespace);
                    let answer = client.get(StoreGetRequest { sandbox_id: id.into() }).await?;
                    Ok(answer.into_inner().sandbox.expect("a sandbox").labels)
                }
            }
        });
        match found {
            Ok(labels) => labels.get("l").cloned(),
            Err(status) if Status::code(&status) == Code::NotFound => None,
            Err(status) => panic!("{self:?}: {status}"),
        }
    }
}

fn container(id: &str, labels: HashMap<String, String>) -> Container {
    Container {
        id: id.into(),
        labels,
        runtime: Some(Runtime {
            name: "r".into(),
            options: None,
        }),
        spec: Some(Any::default()),
        ..Default::default()
    }
}

fn sandbox(id: &str, labels: HashMap<String, String>) -> Sandbox {
    Sandbox {
        sandbox_id: id.into(),
        labels,
        runtime: Some(sandbox::Runtime {
            name: "r".into(),
            options: None,
        }),
        sandboxer: "shim".into(),
        ..Default::default()
    }
}
