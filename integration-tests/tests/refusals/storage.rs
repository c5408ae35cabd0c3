//! Content, snapshots, images, leases.

use davit_containerd_api::{
    services::{
        content::v1::{self as content, *},
        images::v1::{self as images, *},
        leases::v1::{self as leases, *},
        snapshots::v1::{self as snapshots, *},
    },
    types::Descriptor,
};
use davit_integration_tests::Scratch;
use prost_types::FieldMask;

use super::{Asked, ask, on_both};

/// SHA-256 of nothing, and of the five bytes that the tests write.
const NOTHING: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).into()).collect(),
    })
}

async fn resources(asked: &mut Asked, id: &str) {
    let request = ListResourcesRequest { id: id.into() };
    let answer: Option<ListResourcesResponse> = asked
        .call(
            &format!("resources of {id:?}"),
            "leases.v1.Leases/ListResources",
            request,
        )
        .await;
    let Some(answer) = answer else { return };
    let mut all: Vec<_> = answer
        .resources
        .into_iter()
        .map(|resource| format!("{} {}", resource.r#type, resource.id))
        .collect();
    all.sort();
    asked.write(format!("resources of {id}: {all:?}"));
}

async fn write(asked: &mut Asked, what: &str, messages: Vec<WriteContentRequest>) {
    let answer: Option<Vec<WriteContentResponse>> = asked.talk(what, "content.v1.Content/Write", messages).await;
    // containerd answers the last message twice, and knows no total that it was told in it.
    let last = answer.and_then(|mut all| all.pop());
    let told = last.map(|last| (last.action, last.offset, last.digest));
    asked.write(format!("{what}: {told:?}"));
}

fn commit(reference: &str, expected: &str, total: i64) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: reference.into(),
        expected: expected.into(),
        total,
        data: b"hello".to_vec(),
        ..Default::default()
    }
}

#[test]
fn content_is_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        let headers = std::mem::take(&mut asked.headers);
        ask!(asked, "info without a namespace", "content.v1.Content/Info",
            InfoRequest { digest: HELLO.into() } => InfoResponse);
        ask!(asked, "list without a namespace", "content.v1.Content/List",
            ListContentRequest::default() => stream ListContentResponse);
        ask!(asked, "read without a namespace", "content.v1.Content/Read",
            ReadContentRequest { digest: HELLO.into(), ..Default::default() } => stream ReadContentResponse);
        write(asked, "write without a namespace", vec![commit("r", HELLO, 5)]).await;
        ask!(asked, "status without a namespace", "content.v1.Content/Status",
            StatusRequest { r#ref: "r".into() } => StatusResponse);
        ask!(asked, "abort without a namespace", "content.v1.Content/Abort", AbortRequest { r#ref: "r".into() } => ());
        asked.headers = headers;
        for digest in [
            "",
            "x",
            "sha256:",
            "sha256:0",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "sha256:../../x",
            HELLO,
            &HELLO.to_uppercase(),
        ] {
            ask!(asked, &format!("info {digest:?}"), "content.v1.Content/Info",
                InfoRequest { digest: digest.into() } => InfoResponse);
            ask!(asked, &format!("delete {digest:?}"), "content.v1.Content/Delete",
                DeleteContentRequest { digest: digest.into() } => ());
            ask!(asked, &format!("read {digest:?}"), "content.v1.Content/Read",
                ReadContentRequest { digest: digest.into(), ..Default::default() } => stream ReadContentResponse);
            ask!(asked, &format!("update {digest:?}"), "content.v1.Content/Update",
                UpdateRequest { info: Some(content::Info { digest: digest.into(), ..Default::default() }), update_mask: None } => UpdateResponse);
        }
        for reference in ["", "none", "../x"] {
            ask!(asked, &format!("status {reference:?}"), "content.v1.Content/Status",
                StatusRequest { r#ref: reference.into() } => StatusResponse);
            ask!(asked, &format!("abort {reference:?}"), "content.v1.Content/Abort",
                AbortRequest { r#ref: reference.into() } => ());
        }
        write(asked, "write without a reference", vec![WriteContentRequest::default()]).await;
        write(asked, "write a wrong digest", vec![commit("r1", NOTHING, 5)]).await;
        write(asked, "write a wrong size", vec![commit("r2", HELLO, 6)]).await;
        write(
            asked,
            "write at a wrong offset",
            vec![WriteContentRequest {
                offset: 3,
                ..commit("r3", HELLO, 5)
            }],
        )
        .await;
        write(asked, "write", vec![commit("r4", HELLO, 5)]).await;
        write(asked, "write again", vec![commit("r5", HELLO, 5)]).await;
        write(asked, "write again without its digest", vec![commit("r6", "", 0)]).await;
        for (offset, size) in [(0, 0), (5, 0), (6, 0), (2, 9), (-1, 0), (0, -1)] {
            let what = format!("read {offset} {size}");
            let request = ReadContentRequest {
                digest: HELLO.into(),
                offset,
                size,
            };
            let answer: Option<Vec<ReadContentResponse>> =
                asked.stream(&what, "content.v1.Content/Read", request).await;
            // containerd counts the offset of what it sends from that of what was asked for.
            let data = answer.map(|all| all.into_iter().map(|one| one.data).collect::<Vec<_>>());
            asked.write(format!("{what}: {data:?}"));
        }
        let labelled = |key: &str, value: &str| {
            Some(content::Info {
                digest: HELLO.into(),
                labels: [(key.to_owned(), value.to_owned())].into(),
                ..Default::default()
            })
        };
        for paths in [&["size"][..], &["labels"], &["labels.a"], &["digest"], &["created_at"]] {
            ask!(asked, &format!("update {paths:?}"), "content.v1.Content/Update",
                UpdateRequest { info: labelled("a", "b"), update_mask: mask(paths) } => UpdateResponse);
        }
        ask!(asked, "a label that is too long", "content.v1.Content/Update",
            UpdateRequest { info: labelled(&"k".repeat(2000), &"v".repeat(2097)), update_mask: mask(&["labels"]) } => UpdateResponse);
        for filter in ["labels.a", "labels.a==b", "size>1", "digest==x", "nonsense", "=="] {
            let what = format!("list {filter}");
            let answer: Option<Vec<ListContentResponse>> = asked
                .stream(
                    &what,
                    "content.v1.Content/List",
                    ListContentRequest {
                        filters: vec![filter.into()],
                    },
                )
                .await;
            asked.write(format!(
                "{what}: {:?}",
                answer.map(|all| all.into_iter().flat_map(|one| one.info).count())
            ));
            ask!(asked, &format!("statuses {filter}"), "content.v1.Content/ListStatuses",
                ListStatusesRequest { filters: vec![filter.into()] } => ListStatusesResponse);
        }
    });
}

#[test]
fn snapshots_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        let headers = std::mem::take(&mut asked.headers);
        let stat = |key: &str| StatSnapshotRequest {
            snapshotter: "overlayfs".into(),
            key: key.into(),
        };
        ask!(asked, "stat without a namespace", "snapshots.v1.Snapshots/Stat", stat("k") => StatSnapshotResponse);
        asked.headers = headers;
        // Whatever no lease holds may be collected in between.
        ask!(asked, "lease", "leases.v1.Leases/Create",
            leases::CreateRequest { id: "hold".into(), ..Default::default() } => leases::CreateResponse);
        asked.headers.push(("containerd-lease", "hold".into()));
        ask!(asked, "prepare the first", "snapshots.v1.Snapshots/Prepare",
            PrepareSnapshotRequest { snapshotter: "overlayfs".into(), key: "first".into(), ..Default::default() } => PrepareSnapshotResponse);
        for snapshotter in ["", "none", "../x"] {
            let what = |verb: &str| format!("{verb} on {snapshotter:?}");
            let snapshotter = String::from(snapshotter);
            ask!(asked, &what("stat"), "snapshots.v1.Snapshots/Stat",
                StatSnapshotRequest { snapshotter: snapshotter.clone(), key: "k".into() } => StatSnapshotResponse);
            ask!(asked, &what("prepare"), "snapshots.v1.Snapshots/Prepare",
                PrepareSnapshotRequest { snapshotter: snapshotter.clone(), key: "k".into(), ..Default::default() } => PrepareSnapshotResponse);
            ask!(asked, &what("cleanup"), "snapshots.v1.Snapshots/Cleanup", CleanupRequest { snapshotter } => ());
        }
        for key in ["", "none", "../x"] {
            let what = |verb: &str| format!("{verb} {key:?}");
            let (snapshotter, key) = (String::from("overlayfs"), String::from(key));
            ask!(asked, &what("stat"), "snapshots.v1.Snapshots/Stat", stat(&key) => StatSnapshotResponse);
            ask!(asked, &what("mounts"), "snapshots.v1.Snapshots/Mounts",
                MountsRequest { snapshotter: snapshotter.clone(), key: key.clone() } => MountsResponse);
            ask!(asked, &what("usage"), "snapshots.v1.Snapshots/Usage",
                UsageRequest { snapshotter: snapshotter.clone(), key: key.clone() } => UsageResponse);
            ask!(asked, &what("remove"), "snapshots.v1.Snapshots/Remove",
                RemoveSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone() } => ());
            ask!(asked, &what("commit"), "snapshots.v1.Snapshots/Commit",
                CommitSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), name: "n".into(), ..Default::default() } => ());
            if !key.is_empty() {
                let info = snapshots::Info {
                    name: key.clone(),
                    ..Default::default()
                };
                ask!(asked, &what("update"), "snapshots.v1.Snapshots/Update",
                    UpdateSnapshotRequest { snapshotter: snapshotter.clone(), info: Some(info), update_mask: None } => UpdateSnapshotResponse);
            }
            ask!(asked, &what("prepare on parent"), "snapshots.v1.Snapshots/Prepare",
                PrepareSnapshotRequest { snapshotter, key: "child".into(), parent: if key.is_empty() { "absent".into() } else { key }, ..Default::default() } => PrepareSnapshotResponse);
        }
        let (snapshotter, key) = (String::from("overlayfs"), String::from("k"));
        let prepare = || PrepareSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.clone(),
            ..Default::default()
        };
        ask!(asked, "prepare", "snapshots.v1.Snapshots/Prepare", prepare() => PrepareSnapshotResponse);
        ask!(asked, "prepare again", "snapshots.v1.Snapshots/Prepare", prepare() => PrepareSnapshotResponse);
        ask!(asked, "view it", "snapshots.v1.Snapshots/View",
            ViewSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), ..Default::default() } => ViewSnapshotResponse);
        ask!(asked, "prepare on an active one", "snapshots.v1.Snapshots/Prepare",
            PrepareSnapshotRequest { key: "l".into(), parent: key.clone(), ..prepare() } => PrepareSnapshotResponse);
        ask!(asked, "prepare with a label that is too long", "snapshots.v1.Snapshots/Prepare",
            PrepareSnapshotRequest { key: "l".into(), labels: [("k".repeat(2000), "v".repeat(2097))].into(), ..prepare() } => PrepareSnapshotResponse);
        for paths in [&["labels"][..], &["labels.a"], &["kind"], &["name"], &["parent"]] {
            let info = snapshots::Info {
                name: key.clone(),
                labels: [("a".to_owned(), "b".to_owned())].into(),
                ..Default::default()
            };
            ask!(asked, &format!("update {paths:?}"), "snapshots.v1.Snapshots/Update",
                UpdateSnapshotRequest { snapshotter: snapshotter.clone(), info: Some(info), update_mask: mask(paths) } => UpdateSnapshotResponse);
        }
        ask!(asked, "commit", "snapshots.v1.Snapshots/Commit",
            CommitSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), name: "n".into(), ..Default::default() } => ());
        ask!(asked, "commit the committed", "snapshots.v1.Snapshots/Commit",
            CommitSnapshotRequest { snapshotter: snapshotter.clone(), key: "n".into(), name: "m".into(), ..Default::default() } => ());
        ask!(asked, "mounts of the committed", "snapshots.v1.Snapshots/Mounts",
            MountsRequest { snapshotter: snapshotter.clone(), key: "n".into() } => MountsResponse);
        ask!(asked, "view", "snapshots.v1.Snapshots/View",
            ViewSnapshotRequest { snapshotter: snapshotter.clone(), key: "v".into(), parent: "n".into(), ..Default::default() } => ViewSnapshotResponse);
        ask!(asked, "commit the view", "snapshots.v1.Snapshots/Commit",
            CommitSnapshotRequest { snapshotter: snapshotter.clone(), key: "v".into(), name: "m".into(), ..Default::default() } => ());
        ask!(asked, "remove the parent", "snapshots.v1.Snapshots/Remove",
            RemoveSnapshotRequest { snapshotter: snapshotter.clone(), key: "n".into() } => ());
        ask!(asked, "prepare another", "snapshots.v1.Snapshots/Prepare", prepare() => PrepareSnapshotResponse);
        ask!(asked, "commit to a taken name", "snapshots.v1.Snapshots/Commit",
            CommitSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), name: "n".into(), ..Default::default() } => ());
        for filter in [
            "labels.a",
            "kind==active",
            "kind==Active",
            "parent==n",
            "name==n",
            "name==k,kind==committed",
            "nonsense",
        ] {
            let what = format!("list {filter}");
            let answer: Option<Vec<ListSnapshotsResponse>> = asked
                .stream(
                    &what,
                    "snapshots.v1.Snapshots/List",
                    ListSnapshotsRequest {
                        snapshotter: snapshotter.clone(),
                        filters: vec![filter.into()],
                    },
                )
                .await;
            let names = answer.map(|all| {
                let mut names: Vec<_> = all.into_iter().flat_map(|one| one.info).map(|info| info.name).collect();
                names.sort();
                names
            });
            asked.write(format!("{what}: {names:?}"));
        }
    });
}

#[test]
fn images_and_leases_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    on_both(&scratch, async |asked| {
        let headers = std::mem::take(&mut asked.headers);
        ask!(asked, "list without a namespace", "images.v1.Images/List",
            ListImagesRequest::default() => ListImagesResponse);
        ask!(asked, "get without a namespace", "images.v1.Images/Get",
            GetImageRequest { name: "x".into() } => GetImageResponse);
        ask!(asked, "lease without a namespace", "leases.v1.Leases/Create",
            leases::CreateRequest { id: "l".into(), ..Default::default() } => leases::CreateResponse);
        ask!(asked, "leases without a namespace", "leases.v1.Leases/List",
            leases::ListRequest::default() => leases::ListResponse);
        asked.headers = headers;
        let target = |digest: &str, size: i64, media_type: &str| {
            Some(Descriptor {
                media_type: media_type.into(),
                digest: digest.into(),
                size,
                annotations: Default::default(),
            })
        };
        let image = |name: &str, target: Option<Descriptor>| images::Image {
            name: name.into(),
            target,
            ..Default::default()
        };
        for (name, target) in [
            ("", target(HELLO, 5, "m")),
            ("i", target("", 5, "m")),
            ("i", target("x", 5, "m")),
            ("i", target(HELLO, -5, "m")),
            ("i", target(HELLO, 0, "m")),
            ("i", target(HELLO, 5, "")),
            ("i", target(HELLO, 5, "m")),
            ("i", target(HELLO, 5, "m")),
        ] {
            let what = format!("create {name:?} {target:?}");
            ask!(asked, &what, "images.v1.Images/Create",
                CreateImageRequest { image: Some(image(name, target)), ..Default::default() } => CreateImageResponse);
        }
        ask!(asked, "a label that is too long", "images.v1.Images/Create",
            CreateImageRequest { image: Some(images::Image { labels: [("k".repeat(2000), "v".repeat(2097))].into(), ..image("j", target(HELLO, 5, "m")) }), ..Default::default() } => CreateImageResponse);
        for name in ["", "none"] {
            ask!(asked, &format!("get {name:?}"), "images.v1.Images/Get",
                GetImageRequest { name: name.into() } => GetImageResponse);
            ask!(asked, &format!("delete {name:?}"), "images.v1.Images/Delete",
                DeleteImageRequest { name: name.into(), ..Default::default() } => ());
            ask!(asked, &format!("update {name:?}"), "images.v1.Images/Update",
                UpdateImageRequest { image: Some(image(name, target(HELLO, 5, "m"))), ..Default::default() } => UpdateImageResponse);
        }
        ask!(asked, "delete another target", "images.v1.Images/Delete",
            DeleteImageRequest { name: "i".into(), target: target(NOTHING, 5, "m"), ..Default::default() } => ());
        for paths in [
            &["labels"][..],
            &["labels.a"],
            &["target"],
            &["name"],
            &["annotations"],
            &["nonsense"],
        ] {
            let image = images::Image {
                labels: [("a".to_owned(), "b".to_owned())].into(),
                ..image("i", target(HELLO, 5, "m"))
            };
            let answer: Option<UpdateImageResponse> = asked
                .call(
                    &format!("update {paths:?}"),
                    "images.v1.Images/Update",
                    UpdateImageRequest {
                        image: Some(image),
                        update_mask: mask(paths),
                        ..Default::default()
                    },
                )
                .await;
            asked.write(format!(
                "{:?}",
                answer.and_then(|answer| answer.image).map(|image| image.labels)
            ));
        }
        for filter in [
            "name==i",
            "labels.a==b",
            "target.digest==x",
            "target.mediatype==m",
            "nonsense",
            "==",
        ] {
            let answer: Option<ListImagesResponse> = asked
                .call(
                    &format!("list {filter}"),
                    "images.v1.Images/List",
                    ListImagesRequest {
                        filters: vec![filter.into()],
                    },
                )
                .await;
            asked.write(format!("{filter}: {:?}", answer.map(|answer| answer.images.len())));
        }
        let create = |id: &str| leases::CreateRequest {
            id: id.into(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
        };
        for id in ["../l", "a b", "l", "l"] {
            ask!(asked, &format!("create lease {id:?}"), "leases.v1.Leases/Create",
                create(id) => leases::CreateResponse);
        }
        for id in ["", "none"] {
            ask!(asked, &format!("delete lease {id:?}"), "leases.v1.Leases/Delete",
                leases::DeleteRequest { id: id.into(), sync: false } => ());
            resources(asked, id).await;
        }
        for (kind, id) in [
            ("", ""),
            ("content", ""),
            ("content", HELLO),
            ("content", "x"),
            ("snapshots/overlayfs", "k"),
            ("snapshots", "k"),
            ("ingests", "r"),
            ("images", "i"),
            ("nonsense", "x"),
            ("content/x", HELLO),
        ] {
            for lease in ["none", "l"] {
                let resource = Some(leases::Resource {
                    id: id.into(),
                    r#type: kind.into(),
                });
                ask!(asked, &format!("add {kind:?} {id:?} to {lease}"), "leases.v1.Leases/AddResource",
                    AddResourceRequest { id: lease.into(), resource: resource.clone() } => ());
                if lease == "none" || kind == "nonsense" {
                    ask!(asked, &format!("take {kind:?} {id:?} from {lease}"), "leases.v1.Leases/DeleteResource",
                        DeleteResourceRequest { id: lease.into(), resource } => ());
                }
            }
        }
        resources(asked, "l").await;
        for filter in ["id==l", "labels.a==b", "nonsense", "=="] {
            let answer: Option<leases::ListResponse> = asked
                .call(
                    &format!("leases {filter}"),
                    "leases.v1.Leases/List",
                    leases::ListRequest {
                        filters: vec![filter.into()],
                    },
                )
                .await;
            asked.write(format!("{filter}: {:?}", answer.map(|answer| answer.leases.len())));
        }
        for lease in ["m", "absent"] {
            if lease == "m" {
                ask!(asked, "create lease m", "leases.v1.Leases/Create", create(lease) => leases::CreateResponse);
            }
            asked.headers.push(("containerd-lease", lease.into()));
            write(
                asked,
                &format!("write under {lease}"),
                vec![commit(&format!("w-{lease}"), HELLO, 5)],
            )
            .await;
            let part = WriteContentRequest {
                action: WriteAction::Write.into(),
                r#ref: format!("p-{lease}"),
                data: b"x".to_vec(),
                ..Default::default()
            };
            write(asked, &format!("write a part under {lease}"), vec![part]).await;
            let key = format!("s-{lease}");
            ask!(asked, &format!("prepare under {lease}"), "snapshots.v1.Snapshots/Prepare",
                PrepareSnapshotRequest { snapshotter: "overlayfs".into(), key: key.clone(), ..Default::default() } => PrepareSnapshotResponse);
            if lease == "m" {
                ask!(asked, &format!("commit under {lease}"), "snapshots.v1.Snapshots/Commit",
                CommitSnapshotRequest { snapshotter: "overlayfs".into(), key: key.clone(), name: format!("c-{lease}"), ..Default::default() } => ());
            }
            ask!(asked, &format!("view under {lease}"), "snapshots.v1.Snapshots/View",
                ViewSnapshotRequest { snapshotter: "overlayfs".into(), key: format!("v-{lease}"), ..Default::default() } => ViewSnapshotResponse);
            ask!(asked, &format!("image under {lease}"), "images.v1.Images/Create",
                CreateImageRequest { image: Some(image(&format!("i-{lease}"), target(HELLO, 5, "m"))), ..Default::default() } => CreateImageResponse);
            asked.headers.pop();
            resources(asked, lease).await;
        }
    });
}
