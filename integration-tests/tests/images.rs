//! Images through the docker CLI: pull, load, import, names, removal. Every expectation is held against the real Docker first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use davit_integration_tests::{Containerd, Dockerd, Engine, Finished, Registry, Run, Scratch, image};

/// A world with an archive of busybox in it, and a daemon to ask.
struct Asked<'a> {
    scratch: &'a Scratch,
    socket: &'a Path,
    archive: PathBuf,
}

impl Asked<'_> {
    fn docker(&self, arguments: &[&str]) -> Finished {
        self.scratch.docker(self.socket).args(arguments).finish()
    }

    fn load(&self) {
        let loaded = self.docker(&["load", "--input", text(&self.archive)]).ok();
        assert_eq!(loaded, "Loaded image: busybox:latest");
    }

    /// The id of an image.
    fn id(&self, name: &str) -> String {
        self.docker(&["image", "inspect", "--format", "{{.Id}}", name]).ok()
    }

    /// `repository:tag`s, sorted.
    fn names(&self) -> Vec<String> {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let mut names: Vec<String> = self.docker(&format).ok().lines().map(String::from).collect();
        names.sort();
        names
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the scratch path is ASCII")
}

/// Runs `check` against the real Docker, which proves the expectation, and then against ours.
fn on_both(check: impl Fn(&Asked)) {
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
    let dockerd = Dockerd::start(&scratch);
    check_on(dockerd.socket());
    dockerd.stop();
    let engine = Engine::start(&scratch);
    check_on(engine.socket());
    engine.stop();
}

#[test]
fn a_pull_tells_what_it_does_and_whether_anything_is_new() {
    on_both(pulls_tell);
}

fn pulls_tell(asked: &Asked) {
    let registry = Registry::start(asked.scratch);
    registry.push(&asked.archive, "team/web:1");
    let name = registry.name("team/web:1");
    let first = asked.docker(&["pull", &name]).ok();
    assert!(first.starts_with("1: Pulling from team/web\n"), "{first}");
    assert!(
        first.contains(": Pull complete\n") && first.contains("\nDigest: sha256:"),
        "{first}"
    );
    assert!(
        first.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}")),
        "{first}"
    );
    let again = asked.docker(&["pull", &name]).ok();
    assert!(
        again.contains(&format!("Status: Image is up to date for {name}")),
        "{again}"
    );
    assert!(!again.contains("Pull complete"), "{again}");
    assert_eq!(asked.names(), std::slice::from_ref(&name));

    // By the digest that the pull named, too.
    let digest = first
        .lines()
        .find_map(|line| line.strip_prefix("Digest: "))
        .expect("a digest");
    let by_digest = format!("{}@{digest}", registry.name("team/web"));
    assert_eq!(asked.id(&by_digest), asked.id(&name));
    let digests = asked
        .docker(&["image", "inspect", "--format", "{{join .RepoDigests \" \"}}", &name])
        .ok();
    assert_eq!(digests, by_digest);

    let removed = asked.docker(&["rmi", &name]).ok();
    let lines: Vec<&str> = removed.lines().collect();
    assert_eq!(lines[0], format!("Untagged: {name}"));
    assert_eq!(lines[1], format!("Untagged: {by_digest}"));
    assert!(lines[2].starts_with("Deleted: sha256:"), "{removed}");
    assert!(asked.names().is_empty());
}

#[test]
fn what_a_registry_does_not_have_is_refused_in_docker_s_words() {
    on_both(|asked| {
        let registry = Registry::start(asked.scratch);
        registry.push(&asked.archive, "web:1");
        for missing in ["web:2", "nothing:1"] {
            let name = registry.name(missing);
            let words = format!("manifest for {name} not found: manifest unknown: manifest unknown");
            asked.docker(&["pull", &name]).code_is(1).says(&words);
        }
        asked
            .docker(&["pull", "127.0.0.1:1/web"])
            .code_is(1)
            .says("connection refused");
        assert!(asked.names().is_empty());
    });
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_leaves_nothing() {
    on_both(|asked| {
        let registry = Registry::start(asked.scratch);
        registry.push(&asked.archive, "web:1");
        spoil_largest_blob(&asked.scratch.join("registry"));
        asked.docker(&["pull", &registry.name("web:1")]).code_is(1);
        assert!(asked.names().is_empty());
        fs::remove_dir_all(asked.scratch.join("registry")).expect("it is ours");
    });
}

/// Changes a byte in the middle of the largest file that a registry stores.
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
fn an_import_becomes_an_image_with_the_asked_for_configuration() {
    on_both(|asked| {
        let tar = asked.scratch.join("root.tar");
        image::busybox_tar(&tar).expect("a root file system");
        let changes = [
            "CMD [\"sh\", \"-c\", \"echo hi\"]",
            "ENV A=1 B=\"x y\"",
            "WORKDIR /tmp",
            "USER nobody",
            "EXPOSE 80",
        ];
        let mut import = vec!["import", "--message", "made by hand"];
        for change in &changes {
            import.extend(["--change", change]);
        }
        import.extend([text(&tar), "mine:1"]);
        let id = asked.docker(&import).ok();
        assert_eq!(asked.id("mine:1"), id);
        let inspect = |format: &str| asked.docker(&["image", "inspect", "--format", format, "mine:1"]).ok();
        assert_eq!(inspect("{{json .Config.Cmd}}"), r#"["sh","-c","echo hi"]"#);
        assert_eq!(inspect("{{json .Config.Env}}"), r#"["A=1","B=x y"]"#);
        assert_eq!(inspect("{{.Config.WorkingDir}} {{.Config.User}}"), "/tmp nobody");
        assert_eq!(inspect("{{json .Config.ExposedPorts}}"), r#"{"80/tcp":{}}"#);
        assert_eq!(
            inspect("{{.Comment}} {{.Os}} {{len .RootFS.Layers}}"),
            "made by hand linux 1"
        );
        assert_eq!(inspect("{{json .RepoTags}} {{json .RepoDigests}}"), r#"["mine:1"] []"#);

        // The same bytes compressed are the same layer.
        let gzip = asked.scratch.join("root.tar.gz");
        let packed = std::process::Command::new("gzip")
            .arg("-c")
            .arg(&tar)
            .output()
            .expect("gzip runs");
        fs::write(&gzip, packed.stdout).expect("the folder is ours");
        asked.docker(&["import", text(&gzip), "mine:2"]).ok();
        let layers = |name: &str| {
            asked
                .docker(&["image", "inspect", "--format", "{{json .RootFS}}", name])
                .ok()
        };
        assert_eq!(layers("mine:1"), layers("mine:2"));

        let junk = asked.scratch.join("junk");
        fs::write(&junk, [0x55; 4096]).expect("the folder is ours");
        asked.docker(&["import", text(&junk), "junk:1"]).code_is(1);
        asked
            .docker(&["import", "--change", "RUN x", text(&tar), "bad:1"])
            .code_is(1)
            .says("RUN is not a valid change command");
        assert_eq!(asked.names(), ["mine:1", "mine:2"]);
    });
}

#[test]
fn an_image_whose_name_moves_on_lives_on_without_it() {
    on_both(moved_names_leave_images);
}

fn moved_names_leave_images(asked: &Asked) {
    asked.load();
    let old = asked.id("busybox");
    let tar = asked.scratch.join("root.tar");
    image::busybox_tar(&tar).expect("a root file system");
    let new = asked.docker(&["import", text(&tar), "busybox:latest"]).ok();
    assert_eq!(asked.id("busybox"), new);
    let dangling = ["images", "--quiet", "--no-trunc", "--filter", "dangling=true"];
    assert_eq!(asked.docker(&dangling).ok(), old);
    assert_eq!(asked.names(), ["<none>:<none>", "busybox:latest"]);
    // Loading it again takes the name back, and then the other one dangles.
    asked.docker(&["load", "--quiet", "--input", text(&asked.archive)]).ok();
    assert_eq!(asked.id("busybox"), old);
    assert_eq!(asked.docker(&dangling).ok(), new);
    asked.docker(&["tag", &new, "kept:1"]).ok();
    assert_eq!(asked.docker(&dangling).ok(), "");
    asked.docker(&["rmi", &new]).ok();
    asked.docker(&["rmi", "busybox"]).ok();
    assert!(asked.names().is_empty());
}

#[test]
fn lists_are_filtered_by_name_label_and_age() {
    on_both(|asked| {
        asked.load();
        let tar = asked.scratch.join("root.tar");
        image::busybox_tar(&tar).expect("a root file system");
        asked
            .docker(&["import", "--change", "LABEL tier=web", text(&tar), "team/web:1.2"])
            .ok();
        asked.docker(&["tag", "busybox", "team/box:1"]).ok();
        let list = |filter: &str| {
            let mut images = vec!["images", "--format", "{{.Repository}}:{{.Tag}}"];
            if filter.contains('=') {
                images.extend(["--filter", filter]);
            } else {
                images.push(filter);
            }
            let mut names: Vec<String> = asked.docker(&images).ok().lines().map(String::from).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(list("busybox"), "busybox:latest");
        assert_eq!(list("team/*"), "team/box:1 team/web:1.2");
        assert_eq!(list("reference=*/web:1.*"), "team/web:1.2");
        assert_eq!(list("label=tier"), "team/web:1.2");
        assert_eq!(list("label=tier=web"), "team/web:1.2");
        assert_eq!(list("label=tier=db"), "");
        assert_eq!(list("since=busybox"), "team/web:1.2");
        assert_eq!(list("before=team/web:1.2"), "busybox:latest team/box:1");
        asked
            .docker(&["images", "--filter", "no-such=1"])
            .code_is(1)
            .says("invalid filter 'no-such'");
    });
}

#[test]
fn names_and_ids_that_mean_no_image_are_refused_in_docker_s_words() {
    on_both(|asked| {
        asked.load();
        let id = asked.id("busybox");
        let digits = id.strip_prefix("sha256:").expect("an id");
        for found in [&id[..], digits, &digits[..12], &digits[..5]] {
            assert_eq!(asked.id(found), id);
        }
        asked
            .docker(&["rmi", "nothing"])
            .code_is(1)
            .says("No such image: nothing:latest");
        asked
            .docker(&["rmi", "nothing:1"])
            .code_is(1)
            .says("No such image: nothing:1");
        asked
            .docker(&["history", "nothing"])
            .code_is(1)
            .says("No such image: nothing:latest");
        asked
            .docker(&["tag", "nothing", "a"])
            .code_is(1)
            .says("No such image: nothing:latest");
        asked
            .docker(&["run", "--pull", "never", "nothing"])
            .code_is(125)
            .says("No such image: nothing:latest");
        asked
            .docker(&["rmi", "Busybox"])
            .code_is(1)
            .says("repository name (library/Busybox) must be lowercase");
        asked.docker(&["tag", "busybox", &format!("a@{id}")]).code_is(1);
        assert_eq!(asked.names(), ["busybox:latest"]);
    });
}

#[test]
fn an_image_in_use_stays_until_it_is_forced() {
    on_both(|asked| {
        asked.load();
        let id = asked.id("busybox");
        let short = &id["sha256:".len()..][..12];
        let container = asked.docker(&["create", "--network", "none", "busybox"]).ok();
        let container = &container[..12];
        asked.docker(&["rmi", "busybox"]).code_is(1).says(&format!(
            "conflict: unable to remove repository reference \"busybox\" (must force) - container {container} is using its \
             referenced image {short}"
        ));
        asked.docker(&["rmi", short]).code_is(1).says(&format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
        ));
        // One of two names goes without force.
        asked.docker(&["tag", "busybox", "other:1"]).ok();
        assert_eq!(asked.docker(&["rmi", "busybox"]).ok(), "Untagged: busybox:latest");
        asked.docker(&["tag", "other:1", "other:2"]).ok();
        asked.docker(&["rm", container]).ok();
        asked.docker(&["rmi", short]).code_is(1).says(&format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        ));
        let removed = asked.docker(&["rmi", "--force", short]).ok();
        assert!(removed.contains(&format!("Deleted: {id}")), "{removed}");
        assert!(asked.names().is_empty());
    });
}

#[test]
fn an_archive_that_is_none_is_refused_and_leaves_nothing() {
    on_both(bad_archives_leave_nothing);
}

fn bad_archives_leave_nothing(asked: &Asked) {
    let whole = fs::read(&asked.archive).expect("the archive");
    let cut = asked.scratch.join("cut.tar");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("the folder is ours");
    asked.docker(&["load", "--input", text(&cut)]).code_is(1);
    let junk = asked.scratch.join("junk.tar");
    fs::write(&junk, [0x55; 4096]).expect("the folder is ours");
    asked.docker(&["load", "--input", text(&junk)]).code_is(1);
    assert!(asked.names().is_empty());
    asked.load();
}

#[test]
fn a_history_names_each_step_and_its_layer() {
    on_both(|asked| {
        asked.load();
        let format = [
            "history",
            "--no-trunc",
            "--format",
            "{{.ID}}|{{.CreatedBy}}|{{.Comment}}",
            "busybox",
        ];
        assert_eq!(
            asked.docker(&format).ok(),
            format!("{}|one layer|", asked.id("busybox"))
        );
    });
}

#[test]
fn an_engine_on_a_real_containerd_has_the_same_images() {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let containerd = Containerd::start(&scratch);
    let engine = Engine::start_with(&scratch, &["--containerd", text(containerd.socket())]);
    let asked = Asked {
        scratch: &scratch,
        socket: engine.socket(),
        archive,
    };
    pulls_tell(&asked);
    moved_names_leave_images(&asked);
    bad_archives_leave_nothing(&asked);
    engine.stop();
    containerd.stop();
}
