//! Namespaces, containers, events, introspection.

use davit_containerd_api::{
    health::v1::{HealthCheckRequest, HealthCheckResponse},
    services::{
        containers::v1::{container::Runtime, *},
        events::v1::{ForwardRequest, PublishRequest, SubscribeRequest},
        introspection::v1::{PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse},
        namespaces::v1::*,
    },
    types::Envelope,
};
use davit_integration_tests::Scratch;
use prost_types::{Any, FieldMask};

use super::{Asked, ask, of_ours, on_both};

/// Texts that are no identifiers.
const BAD_NAMES: [&str; 8] = ["", "../x", "a/b", "..", "-a", "a--b", "a b", "ä"];

fn long() -> String {
    "a".repeat(77)
}

fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        image: "image".into(),
        labels: [("l".to_owned(), "1".to_owned())].into(),
        runtime: Some(Runtime {
            name: "io.containerd.runc.v2".into(),
            options: None,
        }),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: b"{}".into(),
        }),
        ..Default::default()
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).into()).collect(),
    })
}

async fn create(asked: &mut Asked, what: &str, container: Container) {
    let request = CreateContainerRequest {
        container: Some(container),
    };
    ask!(asked, what, "containers.v1.Containers/Create", request => CreateContainerResponse);
}

async fn update(asked: &mut Asked, what: &str, container: Container, paths: &[&str]) {
    let request = UpdateContainerRequest {
        container: Some(container),
        update_mask: mask(paths),
    };
    let answer: Option<UpdateContainerResponse> = asked.call(what, "containers.v1.Containers/Update", request).await;
    if let Some(container) = answer.and_then(|answer| answer.container) {
        let mut labels: Vec<_> = container.labels.into_iter().collect();
        labels.sort();
        let mut extensions: Vec<_> = container.extensions.into_keys().collect();
        extensions.sort();
        let spec = container.spec.map(|spec| spec.value);
        asked.write(format!(
            "{what}: {labels:?} {extensions:?} {} {:?} {spec:?} {}",
            container.image, container.runtime, container.snapshot_key
        ));
    }
}

async fn list(asked: &mut Asked, filters: &[&str]) {
    let request = || ListContainersRequest {
        filters: filters.iter().map(|filter| (*filter).into()).collect(),
    };
    let what = format!("containers {filters:?}");
    let answer: Option<ListContainersResponse> = asked.call(&what, "containers.v1.Containers/List", request()).await;
    let streamed: Option<Vec<ListContainerMessage>> = asked
        .stream(&what, "containers.v1.Containers/ListStream", request())
        .await;
    let Some(answer) = answer else { return };
    let mut ids: Vec<_> = answer.containers.iter().map(|container| container.id.clone()).collect();
    ids.sort();
    assert_eq!(streamed.map(|all| all.len()), Some(ids.len()));
    asked.write(format!("{what}: {ids:?}"));
}

#[test]
fn containers_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        for name in BAD_NAMES.into_iter().chain([long().as_str()]) {
            if name != "ä" {
                asked.headers[0].1 = name.into();
                list(asked, &[]).await;
            }
        }
        asked.headers[0].1 = "n".into();
        let without = std::mem::take(&mut asked.headers);
        list(asked, &[]).await;
        ask!(asked, "get without a namespace", "containers.v1.Containers/Get",
            GetContainerRequest { id: "x".into() } => GetContainerResponse);
        create(asked, "create without a namespace", container("x")).await;
        ask!(asked, "delete without a namespace", "containers.v1.Containers/Delete",
            DeleteContainerRequest { id: "x".into() } => ());
        asked.headers = without;
        // Where there is no container at all, containerd has other words for one that is not there.
        create(asked, "create the first", container("first")).await;
        for name in BAD_NAMES.into_iter().chain([long().as_str()]) {
            create(asked, &format!("create {name:?}"), container(name)).await;
            ask!(asked, &format!("get {name:?}"), "containers.v1.Containers/Get",
                GetContainerRequest { id: name.into() } => GetContainerResponse);
            ask!(asked, &format!("delete {name:?}"), "containers.v1.Containers/Delete",
                DeleteContainerRequest { id: name.into() } => ());
            update(asked, &format!("update {name:?}"), container(name), &[]).await;
        }
        create(
            asked,
            "create without a runtime",
            Container {
                runtime: None,
                ..container("x")
            },
        )
        .await;
        create(
            asked,
            "create without a spec",
            Container {
                spec: None,
                ..container("x")
            },
        )
        .await;
        create(
            asked,
            "create with an untyped spec",
            Container {
                spec: Some(Any::default()),
                ..container("x0")
            },
        )
        .await;
        create(
            asked,
            "create with a key of no snapshotter",
            Container {
                snapshot_key: "k".into(),
                ..container("x")
            },
        )
        .await;
        create(
            asked,
            "create with a nameless extension",
            Container {
                extensions: [(String::new(), Any::default())].into(),
                ..container("x")
            },
        )
        .await;
        let huge = [("k".repeat(2000), "v".repeat(2097))];
        create(
            asked,
            "create with a label that is too long",
            Container {
                labels: huge.into(),
                ..container("x")
            },
        )
        .await;
        let fits = [("k".repeat(2000), "v".repeat(2096))];
        create(
            asked,
            "create with a label that just fits",
            Container {
                labels: fits.into(),
                ..container("x1")
            },
        )
        .await;
        create(
            asked,
            "create with an unknown sandbox",
            Container {
                sandbox: "none".into(),
                ..container("x2")
            },
        )
        .await;
        create(asked, "create", container("c")).await;
        create(asked, "create again", container("c")).await;
        create(
            asked,
            "create another",
            Container {
                image: "other".into(),
                labels: [("m.n/o".to_owned(), "2,\"x\"".to_owned())].into(),
                ..container("d")
            },
        )
        .await;
        let mut given = container("c");
        given.image = "new".into();
        given.snapshot_key = "key".into();
        given.labels = [("l".to_owned(), "2".to_owned()), ("k".to_owned(), "3".to_owned())].into();
        given.extensions = [(
            "e".to_owned(),
            Any {
                type_url: "t".into(),
                value: vec![1],
            },
        )]
        .into();
        given.spec = Some(Any {
            type_url: "u".into(),
            value: vec![2],
        });
        for paths in [
            &["image"][..],
            &["labels.l"],
            &["labels.none"],
            &["labels"],
            &["extensions"],
            &["extensions.e"],
            &["spec"],
            &["snapshotkey"],
            &["snapshot_key"],
            &["runtime"],
            &["id"],
            &["createdat"],
            &["labels.k", "nonsense"],
            &["Labels"],
            &["labels."],
            &["sandbox"],
            &["sandboxid"],
        ] {
            update(asked, &format!("update {paths:?}"), given.clone(), paths).await;
        }
        update(asked, "update all", given.clone(), &[]).await;
        update(
            asked,
            "update the snapshotter",
            Container {
                snapshotter: "s".into(),
                ..given.clone()
            },
            &[],
        )
        .await;
        update(
            asked,
            "update the key",
            Container {
                snapshotter: "s".into(),
                ..given.clone()
            },
            &["snapshotkey"],
        )
        .await;
        update(
            asked,
            "update the runtime",
            Container {
                runtime: Some(Runtime {
                    name: "other".into(),
                    options: None,
                }),
                ..given.clone()
            },
            &[],
        )
        .await;
        update(
            asked,
            "update with a label that is too long",
            Container {
                labels: [("k".repeat(2000), "v".repeat(2097))].into(),
                ..given.clone()
            },
            &["labels"],
        )
        .await;
        update(
            asked,
            "update without a spec",
            Container {
                spec: None,
                ..given.clone()
            },
            &["spec"],
        )
        .await;
        for filters in [
            &[][..],
            &["id==c"],
            &["id!=c"],
            &["id"],
            &["id~=^[cd]$"],
            &["id==c", "id==d"],
            &["id==c,image==x"],
            &["labels.l"],
            &["labels.\"m.n/o\""],
            &["labels.\"m.n/o\"==\"2,\\\"x\\\"\""],
            &["labels.l==2"],
            &["image==other"],
            &["runtime.name==io.containerd.runc.v2"],
            &["nonsense"],
            &["nonsense==x"],
            &[""],
            &["id=="],
            &["=="],
            &["id~=["],
            &["id~=/["],
            &["id==c,"],
            &[",id==c"],
            &["id=c"],
            &["id===c"],
            &["id~c"],
            &["\"id"],
            &["id==\"c"],
            &["id.==c"],
            &["id==c d"],
            &["labels.l~=|2|"],
            &["id==c and id==d"],
            &["id==ä"],
            &["!id"],
            &["id~=\\d"],
            &["id==\"\\q\""],
        ] {
            list(asked, filters).await;
        }
        ask!(asked, "delete", "containers.v1.Containers/Delete", DeleteContainerRequest { id: "c".into() } => ());
        ask!(asked, "delete again", "containers.v1.Containers/Delete", DeleteContainerRequest { id: "c".into() } => ());
    });
}

#[test]
fn namespaces_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        asked.headers.clear();
        let named = |name: &str| Namespace {
            name: name.into(),
            labels: [("k".to_owned(), "v".to_owned())].into(),
        };
        for name in BAD_NAMES.into_iter().chain([long().as_str(), "n"]) {
            let answer: Option<GetNamespaceResponse> = asked
                .call(
                    &format!("get {name:?}"),
                    "namespaces.v1.Namespaces/Get",
                    GetNamespaceRequest { name: name.into() },
                )
                .await;
            asked.write(format!("{answer:?}"));
            ask!(asked, &format!("create {name:?}"), "namespaces.v1.Namespaces/Create",
                CreateNamespaceRequest { namespace: Some(named(name)) } => CreateNamespaceResponse);
        }
        ask!(asked, "create n again", "namespaces.v1.Namespaces/Create",
            CreateNamespaceRequest { namespace: Some(named("n")) } => CreateNamespaceResponse);
        for paths in [&["labels.k"][..], &["labels"], &["name"], &["labels.none"], &[]] {
            let _: Option<UpdateNamespaceResponse> = asked
                .call(
                    &format!("update {paths:?}"),
                    "namespaces.v1.Namespaces/Update",
                    UpdateNamespaceRequest {
                        namespace: Some(named("n")),
                        update_mask: mask(paths),
                    },
                )
                .await;
        }
        let _: Option<UpdateNamespaceResponse> = asked
            .call(
                "update one that is not there",
                "namespaces.v1.Namespaces/Update",
                UpdateNamespaceRequest {
                    namespace: Some(named("absent")),
                    update_mask: None,
                },
            )
            .await;
        ask!(asked, "a label that is too long", "namespaces.v1.Namespaces/Create",
            CreateNamespaceRequest { namespace: Some(Namespace { name: "o".into(), labels: [("k".repeat(2000), "v".repeat(2097))].into() }) } => CreateNamespaceResponse);
        asked.headers = vec![("containerd-namespace", "n".into())];
        create(asked, "create a container", container("c")).await;
        ask!(asked, "delete a namespace in use", "namespaces.v1.Namespaces/Delete",
            DeleteNamespaceRequest { name: "n".into() } => ());
        ask!(asked, "delete", "containers.v1.Containers/Delete", DeleteContainerRequest { id: "c".into() } => ());
        ask!(asked, "delete an empty namespace", "namespaces.v1.Namespaces/Delete",
            DeleteNamespaceRequest { name: "n".into() } => ());
        ask!(asked, "delete it again", "namespaces.v1.Namespaces/Delete",
            DeleteNamespaceRequest { name: "n".into() } => ());
    });
}

#[test]
fn events_and_introspection_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        let event = || {
            Some(Any {
                type_url: "t".into(),
                value: vec![],
            })
        };
        for topic in ["", "x", "/", "/a//b", "/a/b", "/a/b/", "/ä", "/a b"] {
            ask!(asked, &format!("publish {topic:?}"), "events.v1.Events/Publish",
                PublishRequest { topic: topic.into(), event: event() } => ());
            let envelope = Envelope {
                topic: topic.into(),
                namespace: "n".into(),
                event: event(),
                timestamp: Some(Default::default()),
                ..Default::default()
            };
            ask!(asked, &format!("forward {topic:?}"), "events.v1.Events/Forward",
                ForwardRequest { envelope: Some(envelope) } => ());
        }
        ask!(asked, "publish nothing", "events.v1.Events/Publish",
            PublishRequest { topic: "/a".into(), event: None } => ());
        let envelope = |namespace: &str, at: i64| Envelope {
            topic: "/a".into(),
            namespace: namespace.into(),
            event: event(),
            timestamp: (at >= 0).then_some(prost_types::Timestamp { seconds: at, nanos: 0 }),
            ..Default::default()
        };
        for (namespace, at) in [("", 1), ("n", -1), ("n", 0), ("n", 1), ("../x", 1)] {
            ask!(asked, &format!("forward from {namespace:?} at {at}"), "events.v1.Events/Forward",
                ForwardRequest { envelope: Some(envelope(namespace, at)) } => ());
        }
        let without = std::mem::take(&mut asked.headers);
        ask!(asked, "publish without a namespace", "events.v1.Events/Publish",
            PublishRequest { topic: "/a".into(), event: event() } => ());
        ask!(asked, "server without a namespace", "introspection.v1.Introspection/Server", () => ServerResponse);
        ask!(asked, "plugin information of none", "introspection.v1.Introspection/PluginInfo",
            PluginInfoRequest::default() => PluginInfoResponse);
        for (kind, id) in [
            ("io.containerd.runtime.v2", "none"),
            ("io.containerd.runtime.v2", "task"),
            ("io.containerd.grpc.v1", "containers"),
            ("io.containerd.snapshotter.v1", "overlayfs"),
        ] {
            for options in [
                None,
                Some(Any {
                    type_url: "x".into(),
                    value: vec![1],
                }),
                Some(Any {
                    type_url: "containerd.types.RuntimeRequest".into(),
                    value: b"\x0a\x08/no/such".to_vec(),
                }),
                Some(Any {
                    type_url: "containerd.types.RuntimeRequest".into(),
                    value: vec![1],
                }),
            ] {
                let what = format!("plugin information of {kind} {id} {options:?}");
                ask!(asked, &what, "introspection.v1.Introspection/PluginInfo",
                    PluginInfoRequest { r#type: kind.into(), id: id.into(), options } => PluginInfoResponse);
            }
        }
        asked.headers = without;
        for service in ["", "none", "containerd.services.tasks.v1.Tasks"] {
            let request = HealthCheckRequest {
                service: service.into(),
            };
            ask!(asked, &format!("health of {service:?}"), "grpc.health.v1.Health/Check", request => HealthCheckResponse);
        }
        for method in ["containers.v1.Containers/None", "none.v1.None/None"] {
            ask!(asked, &format!("call {method}"), method, () => ());
        }
    });
}

#[test]
fn messages_of_more_than_16_mib_are_refused_both_ways() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        let with_spec = |id: &str, bytes: usize| {
            let spec = Any {
                type_url: "t".into(),
                value: vec![b'x'; bytes],
            };
            Container {
                spec: Some(spec),
                ..container(id)
            }
        };
        create(asked, "more than fits", with_spec("large", 16 << 20)).await;
        for id in ["a", "b", "c"] {
            create(asked, "a third of the limit", with_spec(id, 6 << 20)).await;
        }
        let request = ListContainersRequest::default;
        ask!(asked, "all at once", "containers.v1.Containers/List", request() => ListContainersResponse);
        ask!(asked, "one by one", "containers.v1.Containers/ListStream", request() => stream ListContainerMessage);
    });
}

/// containerd dies of a request without its subject, makes no difference between a name of its own and any other where it
/// changes or removes a namespace, and has no kind for a bad filter here and there.
#[test]
fn what_containerd_dies_of_or_takes_for_good_is_an_invalid_argument() {
    let scratch = Scratch::new();
    let lines = of_ours(&scratch, async |asked| {
        ask!(asked, "create", "containers.v1.Containers/Create", CreateContainerRequest::default() => ());
        ask!(asked, "update", "containers.v1.Containers/Update", UpdateContainerRequest::default() => ());
        ask!(asked, "create", "namespaces.v1.Namespaces/Create", CreateNamespaceRequest::default() => ());
        ask!(asked, "update", "namespaces.v1.Namespaces/Update", UpdateNamespaceRequest::default() => ());
        ask!(asked, "forward", "events.v1.Events/Forward", ForwardRequest::default() => ());
        for name in BAD_NAMES.into_iter().chain([long().as_str()]) {
            let namespace = Some(Namespace {
                name: name.into(),
                labels: Default::default(),
            });
            ask!(asked, "update", "namespaces.v1.Namespaces/Update",
                UpdateNamespaceRequest { namespace, update_mask: None } => ());
            ask!(asked, "delete", "namespaces.v1.Namespaces/Delete", DeleteNamespaceRequest { name: name.into() } => ());
        }
        for filter in ["topic==", "\"x", "=="] {
            let filters = || vec![filter.to_owned()];
            ask!(asked, "subscribe", "events.v1.Events/Subscribe", SubscribeRequest { filters: filters() } => stream Envelope);
            ask!(asked, "plugins", "introspection.v1.Introspection/Plugins",
                PluginsRequest { filters: filters() } => PluginsResponse);
        }
    });
    for line in lines {
        assert!(line.contains(": InvalidArgument "), "{line}");
    }
}
