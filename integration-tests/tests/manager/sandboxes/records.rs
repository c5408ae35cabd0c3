//! Records of sandboxes: the same calls have the same answers from the real containerd.

use std::{collections::HashMap, path::Path};

use davit_containerd_api::{
    services::sandbox::v1::{
        StoreCreateRequest, StoreDeleteRequest, StoreGetRequest, StoreListRequest, StoreUpdateRequest,
        store_client::StoreClient,
    },
    types::{Sandbox, sandbox::Runtime},
};
use davit_integration_tests::{Containerd, Manager, Run, Scratch};
use prost_types::Any;
use tonic::{Code, Status};

use super::super::channel;

fn sandbox(id: &str, runtime: &str, label: &str) -> Sandbox {
    Sandbox {
        sandbox_id: id.into(),
        runtime: Some(Runtime {
            name: runtime.into(),
            options: None,
        }),
        spec: Some(Any {
            type_url: "t".into(),
            value: vec![0, 255],
        }),
        labels: HashMap::from([("l".into(), label.into())]),
        sandboxer: "shim".into(),
        ..Default::default()
    }
}

fn create(sandbox: Sandbox) -> StoreCreateRequest {
    StoreCreateRequest { sandbox: Some(sandbox) }
}

fn update(sandbox: Sandbox, fields: &[&str]) -> StoreUpdateRequest {
    StoreUpdateRequest {
        sandbox: Some(sandbox),
        fields: fields.iter().map(|field| (*field).into()).collect(),
    }
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("it is refused").code()
}

#[tokio::main(flavor = "current_thread")]
async fn keeps_records(scratch: &Scratch, socket: &Path) {
    let mut nameless = StoreClient::new(channel::to(socket).await);
    let listed = nameless.list(StoreListRequest::default()).await;
    assert_eq!(refusal(listed), Code::FailedPrecondition);

    let mut store = StoreClient::with_interceptor(channel::to(socket).await, channel::in_the_namespace);
    let made = store.create(create(sandbox("s1", "r", "a"))).await.expect("create");
    let made = made.into_inner().sandbox.expect("a sandbox");
    assert!(made.created_at.is_some() && made.created_at == made.updated_at);
    store.create(create(sandbox("s2", "r", "b"))).await.expect("create");
    assert_eq!(
        refusal(store.create(create(sandbox("s1", "r", "a"))).await),
        Code::AlreadyExists
    );
    for id in ["", "../x", "a/b"] {
        assert_eq!(
            refusal(store.create(create(sandbox(id, "r", "a"))).await),
            Code::InvalidArgument
        );
    }

    let get = |id: &str| StoreGetRequest { sandbox_id: id.into() };
    let found = store.get(get("s1")).await.expect("get").into_inner();
    assert_eq!(found.sandbox, Some(made.clone()));
    assert_eq!(refusal(store.get(get("s3")).await), Code::NotFound);
    for (filter, expected) in [
        ("labels.l==b", vec!["s2"]),
        ("id==s1", vec!["s1"]),
        ("id~=s", vec!["s1", "s2"]),
    ] {
        let request = StoreListRequest {
            filters: vec![filter.into()],
        };
        let list = store.list(request).await.expect("list").into_inner().list;
        let ids: Vec<_> = list.iter().map(|sandbox| sandbox.sandbox_id.as_str()).collect();
        assert_eq!(ids, expected, "{filter}");
    }

    let mut changed = sandbox("s1", "other", "c");
    changed.spec = None;
    let answer = store
        .update(update(changed.clone(), &["labels.l"]))
        .await
        .expect("update");
    let answer = answer.into_inner().sandbox.expect("a sandbox");
    assert_eq!((answer.labels["l"].as_str(), &answer.spec), ("c", &made.spec));
    assert_eq!((answer.created_at, answer.runtime), (made.created_at, made.runtime));
    assert_ne!(answer.updated_at, made.updated_at);
    assert_eq!(
        refusal(store.update(update(changed.clone(), &[])).await),
        Code::InvalidArgument
    );
    assert_eq!(
        refusal(store.update(update(changed.clone(), &["created_at"])).await),
        Code::InvalidArgument
    );
    changed.sandbox_id = "s3".into();
    assert_eq!(
        refusal(store.update(update(changed, &["labels"])).await),
        Code::NotFound
    );

    let list = scratch.ctr(socket).args(["sandboxes", "list"]).finish().ok();
    assert_eq!(list.lines().count(), 3, "{list}");
    let delete = |id: &str| StoreDeleteRequest { sandbox_id: id.into() };
    for id in ["s1", "s2"] {
        store.delete(delete(id)).await.expect("delete");
    }
    assert_eq!(refusal(store.delete(delete("s1")).await), Code::NotFound);
}

#[test]
fn sandboxes_are_recorded_as_by_containerd() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    keeps_records(&scratch, containerd.socket());
    containerd.stop();
    let manager = Manager::start(&scratch);
    keeps_records(&scratch, manager.socket());
    manager.stop();
}
