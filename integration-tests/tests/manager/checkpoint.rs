//! Tasks that the real `ctr` has written down and restored, with the peers' criu: manager and shims run among them.

use std::{fs, path::Path};

use davit_containerd_api::{
    services::tasks::v1::{CreateTaskRequest, tasks_client::TasksClient},
    types::Descriptor,
};
use davit_integration_tests::{Manager, Run, criu, image, wait};
use tonic::{Code, Status};

use super::channel;
use crate::{Shim, World};

/// Counts in a file of the container's root, under a name that it gives itself at its start.
const COUNTER: &str = "me=$(cat /proc/sys/kernel/random/uuid); i=0; \
                       while true; do i=$((i+1)); echo $me $i > /count; sleep 0.02; done";
const IMAGE: &str = "docker.io/library/busybox:latest";

impl World {
    /// A world with an image; `None` where there is no criu.
    fn with_criu(shim: Shim) -> Option<(Self, Manager)> {
        if !criu::works_among_peers() {
            return None;
        }
        let world = Self::new(shim);
        let manager = Manager::start_among_peers(&world.scratch);
        let archive = world.scratch.join("busybox.tar");
        image::busybox_archive(&archive).expect("an archive");
        world.ctr(&["images", "import", archive.to_str().expect("ASCII")]).ok();
        Some((world, manager))
    }

    /// A container that counts.
    fn counter(&self, id: &str, options: &[&str]) {
        let given = ["run", "--detach", "--null-io", "--runtime", self.shim.runtime()];
        let container = [IMAGE, id, "/bin/sh", "-c", COUNTER];
        self.ctr(&[&given, options, &container].concat()).ok();
        self.counts_beyond(id, 0);
    }

    /// Who counts, and how far; `None` while that is being written.
    fn count(&self, id: &str) -> Option<(String, u64)> {
        let exec = self.ctr(&["tasks", "exec", "--exec-id", "count", id, "/bin/cat", "/count"]);
        let (name, number) = exec
            .stdout
            .trim()
            .split_once(' ')
            .map(|(name, number)| (name.to_owned(), number.parse()))?;
        Some((name, number.ok()?))
    }

    /// Waits until it has counted further than this, and says who does.
    fn counts_beyond(&self, id: &str, least: u64) -> (String, u64) {
        wait::until("it counts on", 20, || {
            self.count(id).filter(|(_, number)| *number > least)
        })
    }

    fn end(&self, id: &str) {
        self.ctr(&["tasks", "rm", "--force", id]);
        self.assert_nothing_is_left_of(id);
        self.ctr(&["containers", "rm", id]).ok();
    }

    /// How many blobs there are in the content store.
    fn blobs(&self) -> usize {
        self.ctr(&["content", "list", "--quiet"]).ok().lines().count()
    }

    fn assert_no_draft_is_left(&self) {
        let drafts = fs::read_dir(self.scratch.join("croot/checkpoints"));
        assert_eq!(drafts.into_iter().flatten().count(), 0);
    }
}

pub fn a_container_goes_on_where_its_checkpoint_left_it(shim: Shim) {
    let Some((world, manager)) = World::with_criu(shim) else {
        return;
    };
    let [first, second] = ["first", "second"].map(|name| world.id(name));
    world.counter(&first, &[]);
    let checkpoint = ["containers", "checkpoint", "--rw", "--task", &first, "written:1"];
    world.ctr(&checkpoint).ok();
    world.assert_no_draft_is_left();
    assert_eq!(world.status(&first), "RUNNING");
    let (name, at) = world.counts_beyond(&first, 0);
    world.counts_beyond(&first, at);
    world.end(&first);
    // Whatever nothing refers to is collected.
    world.ctr(&["images", "tag", "written:1", "written:2"]).ok();
    world.ctr(&["images", "rm", "--sync", "written:2"]).ok();

    world
        .ctr(&["containers", "restore", "--rw", "--live", &second, "written:1"])
        .ok();

    assert_eq!(world.status(&second), "RUNNING");
    let (same_name, at) = world.counts_beyond(&second, 0);
    assert_eq!(same_name, name);
    world.counts_beyond(&second, at);
    let unpacked = format!("croot/io.containerd.runtime.v2.task/default/{second}/checkpoint");
    assert!(!world.scratch.join(&unpacked).exists());
    world.end(&second);
    manager.stop();
}

pub fn a_checkpoint_in_a_folder_of_the_client_is_not_stored(shim: Shim) {
    let Some((world, manager)) = World::with_criu(shim) else {
        return;
    };
    let id = world.id("c");
    world.counter(&id, &[]);
    let before = world.blobs();
    let [images, work] = ["images", "work"].map(|name| world.scratch.join(name));
    let text = |path: &Path| path.to_str().expect("ASCII").to_owned();
    let (images_text, work_text) = (text(&images), text(&work));
    let flags = ["--exit", "--image-path", &images_text, "--work-path", &work_text];
    let checkpoint = [&["tasks", "checkpoint"], &flags[..], &[&id]].concat();
    assert_eq!(world.ctr(&checkpoint).ok(), "");
    world.wait_for_status(&id, "STOPPED");
    assert!(images.join("inventory.img").exists());
    assert!(work.join("dump.log").exists());
    if let Shim::Containerds = shim {
        // For another runtime the client stores what it has beside the task.
        assert_eq!(world.blobs(), before);
    }
    world.assert_no_draft_is_left();
    world
        .ctr(&["tasks", "rm", &id])
        .says(&format!("task {id} exit with non-zero exit code 137"));
    world.assert_nothing_is_left_of(&id);
    world.ctr(&["containers", "rm", &id]).ok();
    manager.stop();
}

pub fn a_checkpoint_that_fails_leaves_the_task_alone_and_nothing_behind(shim: Shim) {
    let Some((world, manager)) = World::with_criu(shim) else {
        return;
    };
    let id = world.id("c");
    let settings = world.scratch.join("criu.conf");
    fs::write(&settings, "no-such-option\n").expect("the scratch is ours");
    let annotation = format!("org.criu.config={}", settings.display());
    world.counter(&id, &["--annotation", &annotation]);
    let before = world.blobs();
    world
        .ctr(&["tasks", "checkpoint", "--exit", &id])
        .code_is(1)
        .says("criu failed");
    assert_eq!(world.status(&id), "RUNNING");
    let (_, at) = world.counts_beyond(&id, 0);
    world.counts_beyond(&id, at);
    world.assert_no_draft_is_left();
    assert_eq!(world.blobs(), before);
    world.end(&id);
    manager.stop();
}

/// Makes the task of a container, which is to be restored from this.
#[tokio::main(flavor = "current_thread")]
async fn create_from(socket: &Path, id: &str, media_type: &str, digest: &str) -> Result<(), Status> {
    let channel = channel::to(socket).await;
    let mut tasks = TasksClient::with_interceptor(channel, channel::in_the_namespace);
    let request = CreateTaskRequest {
        container_id: id.into(),
        checkpoint: Some(Descriptor {
            media_type: media_type.into(),
            digest: digest.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    tasks.create(request).await.map(drop)
}

#[test]
fn what_is_no_checkpoint_is_refused_and_nothing_of_its_task_is_left() {
    const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let id = world.id("c");
    let root = world.root.to_str().expect("ASCII");
    let create = [
        "containers",
        "create",
        "--runtime",
        Shim::Ours.runtime(),
        "--rootfs",
        root,
    ];
    world.ctr(&[&create[..], &[&id, "/bin/true"]].concat()).ok();
    let mut ingest = world.scratch.ctr(manager.socket());
    ingest.args(["content", "ingest", "nonsense"]);
    ingest.finish_with(b"this is no archive").ok();
    let blobs = world.ctr(&["content", "list", "--quiet"]).ok();
    let nonsense = blobs.lines().next().expect("a blob");
    let nowhere = format!("sha256:{}", "0".repeat(64));
    for (media_type, digest, code, words) in [
        (
            "text/plain",
            nonsense,
            Code::InvalidArgument,
            "unsupported checkpoint type",
        ),
        (CHECKPOINT, "../x", Code::InvalidArgument, "../x"),
        (CHECKPOINT, &nowhere, Code::NotFound, &nowhere),
        (CHECKPOINT, nonsense, Code::DataLoss, "cannot unpack the checkpoint"),
    ] {
        let refused = create_from(manager.socket(), &id, media_type, digest).expect_err("it is none");
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(words), "{refused}");
        world.assert_nothing_is_left_of(&id);
    }
    manager.stop();
}
