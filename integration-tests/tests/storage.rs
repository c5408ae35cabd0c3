//! Content, snapshots and images through `ctr`. Every expectation is held against the real containerd first.

#[path = "manager/channel.rs"]
mod channel;
#[path = "storage/export.rs"]
mod export;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use davit_integration_tests::{Containerd, Finished, Manager, Registry, Run, Scratch, image};
use export::export;

/// A manager to ask, and an archive of busybox.
struct Asked<'a> {
    scratch: &'a Scratch,
    socket: &'a Path,
    archive: PathBuf,
}

impl Asked<'_> {
    fn ctr(&self, arguments: &[&str]) -> Finished {
        self.scratch.ctr(self.socket).args(arguments).finish()
    }

    /// The words of a command that lists one thing a line, sorted.
    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = self.ctr(arguments).ok().lines().map(str::to_owned).collect();
        words.sort();
        words
    }

    fn images(&self) -> Vec<String> {
        self.words(&["images", "ls", "-q"])
    }

    fn blobs(&self) -> Vec<String> {
        self.words(&["content", "ls", "-q"])
    }

    /// Keys, parents and kinds of all snapshots.
    fn snapshots(&self) -> Vec<String> {
        let all = self.words(&["snapshots", "ls"]);
        let without_head = all.into_iter().filter(|line| !line.starts_with("KEY"));
        without_head
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Removes what nothing needs: the end of a lease with `--sync` waits for that.
    fn collect(&self) {
        self.ctr(&["leases", "create", "--id", "collect"]).ok();
        self.ctr(&["leases", "rm", "--sync", "collect"]).ok();
    }

    fn assert_empty(&self) {
        self.collect();
        assert_eq!((self.images(), self.blobs(), self.snapshots()), Default::default());
        let leases = self.ctr(&["leases", "ls"]).ok();
        assert_eq!(leases.lines().count(), 1, "only the head: {leases}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the scratch path is ASCII")
}

/// Runs `check` against the real containerd, which proves the expectation, and then against ours. What both answer is equal.
fn on_both<T: PartialEq + std::fmt::Debug>(check: impl Fn(&Asked) -> T) {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let check_on = |socket: &Path| {
        check(&Asked {
            scratch: &scratch,
            socket,
            archive: archive.clone(),
        })
    };
    let containerd = Containerd::start(&scratch);
    let expected = check_on(containerd.socket());
    containerd.stop();
    let manager = Manager::start(&scratch);
    let found = check_on(manager.socket());
    manager.stop();
    assert_eq!(found, expected);
}

#[test]
fn an_archive_becomes_an_image_whose_layers_are_snapshots() {
    on_both(|asked| {
        asked.ctr(&["images", "import", text(&asked.archive)]).ok();
        assert_eq!(asked.images(), ["docker.io/library/busybox:latest"]);
        let check = asked.ctr(&["images", "check"]).ok();
        let line = check.lines().nth(1).expect("one image").to_owned();
        assert!(line.contains("complete (2/2)") && line.ends_with("true"), "{line}");
        let name = "docker.io/library/busybox:latest";
        asked.ctr(&["images", "tag", name, "docker.io/library/other:1"]).ok();
        // The index that was made of the archive is needed by nothing.
        asked.collect();
        let answers = (asked.images(), asked.blobs(), asked.snapshots());

        let root = answers.2[0].split_whitespace().next().expect("a key");
        let mounts = asked.ctr(&["snapshots", "prepare", "work", root]).ok();
        assert_eq!(mounts, "");
        asked
            .ctr(&["snapshots", "prepare", "work", root])
            .code_is(1)
            .says("already exists");
        asked.ctr(&["snapshots", "commit", "done", "work"]).ok();
        asked
            .ctr(&["snapshots", "commit", "other", "work"])
            .code_is(1)
            .says("not found");
        asked
            .ctr(&["snapshots", "rm", root])
            .code_is(1)
            .says("cannot remove snapshot with child");
        let tree = asked.ctr(&["snapshots", "tree"]).ok();
        asked.ctr(&["snapshots", "rm", "done"]).ok();

        asked.ctr(&["images", "rm", "--sync", name]).ok();
        assert_eq!(asked.snapshots().len(), 1, "the other name keeps it");
        asked.ctr(&["images", "rm", "--sync", "docker.io/library/other:1"]).ok();
        asked.assert_empty();
        (answers, tree)
    });
}

#[test]
fn a_layout_names_its_images_by_the_rules_of_the_client() {
    on_both(|asked| {
        let layout = asked.scratch.join("layout.tar");
        let from = format!("docker-archive:{}", text(&asked.archive));
        let to = format!("oci-archive:{}:v7", text(&layout));
        let mut skopeo = davit_integration_tests::peers::command("skopeo");
        skopeo
            .args(["--insecure-policy", "copy", "--quiet", &from, &to])
            .finish()
            .ok();
        let mut names = Vec::new();
        for options in [
            &["--base-name", "example.org/app"][..],
            &["--base-name", "example.org/app", "--digests"],
            &["--index-name", "example.org/index:1", "--base-name", "example.org/app"],
            &["--base-name", "example.org/app", "--no-unpack"],
        ] {
            asked
                .ctr(&[&["images", "import"], options, &[text(&layout)]].concat())
                .ok();
            names.push(
                asked
                    .words(&["images", "ls"])
                    .into_iter()
                    .map(first_and_digest)
                    .collect::<Vec<_>>(),
            );
            for name in asked.images() {
                asked.ctr(&["images", "rm", "--sync", &name]);
            }
            asked.assert_empty();
        }
        fs::remove_file(layout).expect("it is ours");
        // The layout is made anew for each, with the time in it.
        names
            .iter()
            .map(|names| names.iter().map(|name| name.0.clone()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
}

/// Name and digest of a line of `images ls`; the digest in a name is cut off.
fn first_and_digest(line: String) -> (String, String) {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let name = name.split("@sha256").next().unwrap_or_default();
    (name.to_owned(), words.nth(1).unwrap_or_default().to_owned())
}

#[test]
fn a_pull_fetches_unpacks_and_labels_as_containerd_does() {
    on_both(|asked| {
        let registry = Registry::start(asked.scratch);
        registry.push(&asked.archive, "team/web:1");
        let name = registry.name("team/web:1");
        asked.ctr(&["images", "pull", &name]).ok();
        asked.ctr(&["images", "pull", &name]).ok();
        assert_eq!(asked.images(), std::slice::from_ref(&name));
        let check = asked.ctr(&["images", "check"]).ok();
        assert!(check.contains("complete (2/2)"), "{check}");
        let host = name.split('/').next().expect("a host");
        let labels = asked.ctr(&["content", "ls"]).ok().replace(host, "HOST");
        let labels = labels.lines().skip(1).map(|line| {
            let mut words = line.split_whitespace();
            // The age is left out.
            (
                words.next().map(str::to_owned),
                words.next().map(str::to_owned),
                words.last().map(str::to_owned),
            )
        });
        let answers = (asked.blobs(), asked.snapshots(), labels.collect::<Vec<_>>());

        asked
            .ctr(&["images", "pull", &registry.name("team/web:2")])
            .code_is(1)
            .says("not found");
        asked
            .ctr(&["images", "pull", &registry.name("nothing:1")])
            .code_is(1)
            .says("not found");
        asked.ctr(&["images", "pull", "busybox"]).code_is(1);
        asked
            .ctr(&["images", "pull", "127.0.0.1:1/a:1"])
            .code_is(1)
            .says("connection refused");
        asked
            .ctr(&["images", "pull", "--snapshotter", "no-such", &name])
            .code_is(1);
        assert_eq!(asked.images(), std::slice::from_ref(&name));
        asked.ctr(&["images", "rm", "--sync", &name]).ok();
        asked.assert_empty();
        answers
    });
}

#[test]
fn what_a_snapshot_adds_becomes_a_layer() {
    on_both(|asked| {
        asked.ctr(&["images", "import", text(&asked.archive)]).ok();
        let root = asked.snapshots()[0]
            .split_whitespace()
            .next()
            .expect("a key")
            .to_owned();
        asked.ctr(&["snapshots", "prepare", "work", &root]).ok();
        let mounts = asked.ctr(&["snapshots", "mounts", "/mnt", "work"]).ok();
        let upper = mounts
            .split("upperdir=")
            .nth(1)
            .and_then(|rest| rest.split(',').next())
            .expect("an overlay");
        fs::create_dir(Path::new(upper).join("srv")).expect("the snapshot is ours");
        fs::write(Path::new(upper).join("srv/new"), "new").expect("the snapshot is ours");
        let layer = asked.scratch.join("layer.tar.gz");
        let mut ctr = asked.scratch.ctr(asked.socket);
        ctr.args(["snapshots", "diff", "work"])
            .stdout(fs::File::create(&layer).expect("the folder is ours"));
        assert!(ctr.status().expect("ctr runs").success());
        let listed = std::process::Command::new("tar").arg("tzf").arg(&layer).finish().ok();
        assert_eq!(listed.lines().collect::<Vec<_>>(), ["srv/", "srv/new"]);
    });
}

#[test]
fn an_exported_image_comes_back_as_the_same_image() {
    on_both(|asked| {
        let name = "docker.io/library/busybox:latest";
        asked.ctr(&["images", "import", text(&asked.archive)]).ok();
        asked.collect();
        let before = (asked.images(), asked.blobs(), asked.snapshots());
        let exported = asked.scratch.join("exported.tar");
        export(asked.socket, name, &exported);
        asked.ctr(&["images", "rm", "--sync", name]).ok();
        asked.assert_empty();
        asked.ctr(&["images", "import", text(&exported)]).ok();
        asked.collect();
        assert_eq!((asked.images(), asked.blobs(), asked.snapshots()), before);
        asked
            .ctr(&["images", "export", text(&exported), "docker.io/library/none:1"])
            .code_is(1)
            .says("not found");
        before
    });
}

#[test]
fn content_is_what_its_digest_says_or_is_refused() {
    const HELLO: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    on_both(|asked| {
        let ingest = |digest: &str, size: &str, reference: &str, bytes: &[u8]| {
            let mut ctr = asked.scratch.ctr(asked.socket);
            ctr.args([
                "content",
                "ingest",
                "--expected-digest",
                digest,
                "--expected-size",
                size,
                reference,
            ]);
            ctr.finish_with(bytes)
        };
        // A collection that a young containerd runs by itself would take the blob, which nothing holds.
        asked.collect();
        ingest(HELLO, "6", "good", b"hello\n").ok();
        assert_eq!(asked.ctr(&["content", "get", HELLO]).ok(), "hello");
        ingest(HELLO, "6", "again", b"hello\n");
        let other = format!("sha256:{}", "0".repeat(64));
        ingest(&other, "6", "wrong", b"hellp\n")
            .code_is(1)
            .says("unexpected commit digest");
        ingest(&other, "7", "short", b"hello\n").code_is(1);
        asked.ctr(&["content", "get", &other]).code_is(1).says("not found");
        asked.ctr(&["content", "get", "sha256:../x"]).code_is(1);
        asked.ctr(&["content", "label", HELLO, "a=b"]).ok();
        let listed = asked.ctr(&["content", "ls", "labels.a==b"]).ok();
        assert!(listed.contains(HELLO), "{listed}");
        asked.ctr(&["content", "ls", "labels.a=b"]).code_is(1);
        asked.ctr(&["content", "rm", HELLO]).ok();
        asked.ctr(&["content", "get", HELLO]).code_is(1).says("not found");
    });
}

#[test]
fn archives_that_are_damaged_leave_nothing() {
    on_both(|asked| {
        let whole = fs::read(&asked.archive).expect("the archive");
        let cut = asked.scratch.join("cut.tar");
        fs::write(&cut, &whole[..whole.len() / 2]).expect("the folder is ours");
        asked.ctr(&["images", "import", text(&cut)]).code_is(1);
        let junk = asked.scratch.join("junk.tar");
        fs::write(&junk, [0x55; 4096]).expect("the folder is ours");
        asked.ctr(&["images", "import", text(&junk)]).code_is(1);

        // Another byte in the layer: its digest is no longer the configuration's diff id.
        let mut spoilt = whole.clone();
        let elf = whole
            .windows(4)
            .position(|bytes| bytes == b"\x7fELF")
            .expect("busybox is in it");
        spoilt[elf + 100_000] ^= 1;
        let wrong = asked.scratch.join("wrong.tar");
        fs::write(&wrong, spoilt).expect("the folder is ours");
        asked.ctr(&["images", "import", text(&wrong)]).code_is(1);
        asked.assert_empty();
    });
}

#[test]
fn a_registry_that_sends_wrong_bytes_gets_nothing_stored() {
    on_both(|asked| {
        let registry = Registry::start(asked.scratch);
        registry.push(&asked.archive, "web:1");
        spoil_largest_blob(&asked.scratch.join("registry"));
        asked.ctr(&["images", "pull", &registry.name("web:1")]).code_is(1);
        asked.collect();
        assert_eq!((asked.images(), asked.snapshots()), Default::default());
        fs::remove_dir_all(asked.scratch.join("registry")).expect("it is ours");
    });
}

/// Changes a byte in the middle of the largest file below a folder.
fn spoil_largest_blob(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let mut largest = (0, PathBuf::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the registry's folder").flatten() {
            let metadata = entry.metadata().expect("it is there");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.len() > largest.0 {
                largest = (metadata.len(), entry.path());
            }
        }
    }
    let mut bytes = fs::read(&largest.1).expect("the registry's blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest.1, bytes).expect("the registry's blob");
}

#[test]
fn a_manager_killed_at_any_moment_of_a_pull_finishes_it_the_next_time() {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let registry = Registry::start(&scratch);
    registry.push(&archive, "web:1");
    let name = registry.name("web:1");
    for delay in [20, 60, 120, 250, 500] {
        let manager = Manager::start(&scratch);
        let mut pull = scratch.ctr(manager.socket());
        let mut pull = pull.args(["images", "pull", &name]).spawn().expect("ctr starts");
        thread::sleep(Duration::from_millis(delay));
        manager.kill();
        pull.wait().expect("ctr is a child");
        let manager = Manager::start(&scratch);
        let asked = Asked {
            scratch: &scratch,
            socket: manager.socket(),
            archive: archive.clone(),
        };
        asked.ctr(&["images", "pull", &name]).ok();
        let check = asked.ctr(&["images", "check"]).ok();
        assert!(
            check.contains("complete (2/2)") && check.trim_end().ends_with("true"),
            "{check}"
        );
        let folders = fs::read_dir(scratch.join("croot/io.containerd.snapshotter.v1.overlayfs/snapshots"));
        assert_eq!(folders.expect("the snapshots").count(), 1, "a cut off layer is removed");
        asked.ctr(&["images", "rm", "--sync", &name]).ok();
        // The lease of the cut off pull still holds what that had fetched; containerd's lives a day, too.
        for lease in asked.words(&["leases", "ls", "-q"]) {
            asked.ctr(&["leases", "rm", "--sync", &lease]).ok();
        }
        asked.assert_empty();
        manager.stop();
    }
}
