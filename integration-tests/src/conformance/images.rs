//! The images that the suite pulls: busybox with the users that its tests name, alone and with two more layers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use davit_integration_tests::{Registry, image, peers, program, workspace::run};
use serde_json::{Value, json};

const BUSYBOX: &str = "containerd/busybox:1.36";
const MULTI: &str = "containerd/multi:1";
const PAUSE: &str = "containerd/pause:3.10";

/// The users and groups of the image that the suite was written for.
const USERS: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";
const GROUPS: &str =
    "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\nusers:x:100:\nwww-data:x:33:\nnobody:x:65534:\n";

/// Puts the images into a registry, and says where the list of their names is. `folder` is made for it.
pub(super) fn push(registry: &Registry, folder: &Path) -> Result<PathBuf> {
    fs::create_dir(folder)?;
    let layout = Layout::new(&folder.join("layout"))?;
    let base = layout.layer(&base(&folder.join("base"))?)?;
    let more = |name| layout.layer(&file(folder, name)?);
    let (one, two) = (more("one")?, more("two")?);
    layout.finish(&[
        layout.image("busybox", &[&base], &more("foreign-1")?)?,
        // No layer of it has the same parents as in the first, or unpacking one would unpack a part of the other.
        layout.image("multi", &[&one, &base, &two], &more("foreign-2")?)?,
        layout.image("pause", &[&two, &base], &more("foreign-3")?)?,
    ])?;
    for (name, repository) in [("busybox", BUSYBOX), ("multi", MULTI), ("pause", PAUSE)] {
        let mut skopeo = peers::command("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            "--all",
            "--quiet",
            "--dest-tls-verify=false",
        ]);
        skopeo
            .arg(format!("oci:{}:{name}", layout.folder.display()))
            .arg(format!("docker://{}", registry.name(repository)));
        run(&mut skopeo)?;
    }
    let rows = [("Alpine", BUSYBOX), ("BusyBox", BUSYBOX), ("Pause", PAUSE)];
    let more = [("VolumeCopyUp", MULTI), ("VolumeOwnership", MULTI)];
    let row = |(key, repository)| format!("{key} = {:?}\n", registry.name(repository));
    let list = folder.join("list.toml");
    fs::write(&list, rows.into_iter().chain(more).map(row).collect::<String>())?;
    Ok(list)
}

fn base(root: &Path) -> Result<PathBuf> {
    image::busybox_root(root)?;
    fs::write(root.join("etc/passwd"), USERS)?;
    fs::write(root.join("etc/group"), GROUPS)?;
    for name in ["home", "run"] {
        fs::create_dir(root.join(name))?;
    }
    let bin = root.join("bin");
    // The image is used as alpine, which has a bash and a program with the set-user-id bit, too. As the first process of a
    // container, Debian's nc does not end on a signal that it has no handler for; the suite's image has one that does.
    let nc = "#!/bin/sh\ntrap 'exit 143' TERM\nbusybox nc \"$@\" &\nwait $!\n";
    for (name, text) in [
        ("bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n"),
        ("passwd", "#!/bin/sh\n"),
        ("nc", nc),
    ] {
        // An applet is a link to busybox, which a write would reach.
        let _ = fs::remove_file(bin.join(name));
        program::write(bin.join(name), text);
    }
    run(Command::new("chmod").arg("4755").arg(bin.join("passwd")))?;
    Ok(root.to_owned())
}

fn file(folder: &Path, name: &str) -> Result<PathBuf> {
    let root = folder.join(name);
    fs::create_dir(&root)?;
    fs::write(root.join(format!("layer-{name}")), name)?;
    Ok(root)
}

/// An OCI image layout: each image an index, as images for many platforms are.
struct Layout {
    folder: PathBuf,
}

/// A layer in the layout: its descriptor and the digest of its plain form.
struct Layer {
    descriptor: Value,
    diff_id: String,
}

impl Layout {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self { folder: folder.into() })
    }

    /// A layer of what is in a folder.
    fn layer(&self, root: &Path) -> Result<Layer> {
        let tar = root.with_extension("tar");
        run(Command::new("tar")
            .arg("-C")
            .arg(root)
            .args(["--owner=0", "--group=0", "-cf"])
            .arg(&tar)
            .arg("."))?;
        let diff_id = digest(&tar)?;
        let packed = root.with_extension("tar.gz");
        run(Command::new("gzip")
            .args(["--no-name", "--stdout"])
            .arg(&tar)
            .stdout(fs::File::create(&packed)?))?;
        let descriptor = self.keep(&packed, "application/vnd.oci.image.layer.v1.tar+gzip")?;
        Ok(Layer { descriptor, diff_id })
    }

    /// The descriptor of an index: the image for this machine, and one for a machine that nobody has here.
    fn image(&self, name: &str, layers: &[&Layer], foreign: &Layer) -> Result<Value> {
        let manifests = [
            self.manifest(image::architecture(), layers)?,
            self.manifest("riscv64", &[foreign])?,
        ];
        let index = "application/vnd.oci.image.index.v1+json";
        let document = json!({"schemaVersion": 2, "mediaType": index, "manifests": manifests});
        let mut index = self.document(&document, index)?;
        index["annotations"] = json!({"org.opencontainers.image.ref.name": name});
        Ok(index)
    }

    fn manifest(&self, architecture: &str, layers: &[&Layer]) -> Result<Value> {
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let history: Vec<_> = layers.iter().map(|_| json!({"created_by": "one layer"})).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        });
        let config = self.document(&config, "application/vnd.oci.image.config.v1+json")?;
        let layers: Vec<_> = layers.iter().map(|layer| &layer.descriptor).collect();
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        let document = json!({"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": layers});
        let mut manifest = self.document(&document, manifest)?;
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        Ok(manifest)
    }

    fn finish(&self, images: &[Value]) -> Result<()> {
        let index = json!({"schemaVersion": 2, "manifests": images});
        Ok(fs::write(self.folder.join("index.json"), index.to_string())?)
    }

    fn document(&self, value: &Value, media_type: &str) -> Result<Value> {
        let path = self.folder.join("document");
        fs::write(&path, value.to_string())?;
        self.keep(&path, media_type)
    }

    /// Moves a file among the blobs.
    fn keep(&self, path: &Path, media_type: &str) -> Result<Value> {
        let (digest, size) = (digest(path)?, fs::metadata(path)?.len());
        fs::rename(path, self.folder.join("blobs").join(digest.replace(':', "/")))?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": size}))
    }
}

fn digest(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum")
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let sum = text.split_whitespace().next().context("sha256sum printed nothing")?;
    Ok(format!("sha256:{sum}"))
}
