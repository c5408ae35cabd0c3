//! Images into an archive: an OCI layout that `docker load` of any age reads, too.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use davit_metadata::{Labels, Scope};
use davit_registry::Reference as Name;
use davit_vocabulary::Digest;
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use crate::{
    Destination, Image, ImageError, Platform, Reporter, Storage,
    oci::{self, Index, Manifest, Reference, Role},
    transfer::no_platform,
};

/// What a client wants of an archive.
#[derive(Clone, Debug, Default)]
pub struct ExportWish {
    /// Names of images.
    pub names: Vec<String>,
    /// The platforms wanted; empty for this machine's.
    pub platforms: Vec<Platform>,
    /// Whether all platforms are wanted.
    pub all_platforms: bool,
    /// Whether `manifest.json`, for an older `docker load`, is left out.
    pub skip_docker_manifest: bool,
}

/// One image of `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Storage {
    /// Writes the images that `wish` names as a tar.
    pub fn export(
        &self,
        scope: &Scope,
        wish: &ExportWish,
        sink: impl Write,
        reporter: &Reporter,
    ) -> Result<(), ImageError> {
        reporter.step("Exporting");
        let images: Vec<Image> = wish
            .names
            .iter()
            .map(|name| self.images.get(scope, name))
            .collect::<Result<_, _>>()?;
        let mut export = Export {
            storage: self,
            scope,
            platforms: platforms(wish),
            builder: Builder::new(sink),
            written: BTreeSet::new(),
        };
        let mut index = Index {
            schema_version: 2,
            ..Index::default()
        };
        let mut saved = Vec::new();
        export.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for image in &images {
            let mut root = Reference::from(image.target.clone());
            if let Some(manifest) = export.tree(&root)? {
                saved.push(export.saved(&manifest, &image.name)?);
            }
            root.annotations = annotations(&image.name);
            index.manifests.push(root);
        }
        export.json("index.json", &index)?;
        if !wish.skip_docker_manifest && !saved.is_empty() {
            export.json("manifest.json", &saved)?;
        }
        export.builder.finish().map_err(unwritten)?;
        reporter.step("Completed export");
        Ok(())
    }
}

struct Export<'a, W: Write> {
    storage: &'a Storage,
    scope: &'a Scope,
    platforms: Destination,
    builder: Builder<W>,
    /// Blobs that are in the archive already: images share them.
    written: BTreeSet<Digest>,
}

impl<W: Write> Export<'_, W> {
    /// Writes an index or a manifest and all below it that is wanted; the first manifest comes back.
    fn tree(&mut self, node: &Reference) -> Result<Option<Reference>, ImageError> {
        let children = oci::children(&self.storage.content, self.scope, node)?;
        self.blob(node)?;
        match Role::of(&node.media_type) {
            Role::Index => {
                let wanted = self.platforms.select(children);
                if wanted.is_empty() {
                    return Err(no_platform(&self.platforms, node));
                }
                let mut first = None;
                for child in &wanted {
                    let manifest = self.tree(child)?;
                    first = first.or(manifest);
                }
                Ok(first)
            }
            Role::Manifest => {
                children.iter().try_for_each(|child| self.blob(child))?;
                Ok(Some(node.clone()))
            }
            Role::Config | Role::Layer | Role::Other => Ok(None),
        }
    }

    fn blob(&mut self, blob: &Reference) -> Result<(), ImageError> {
        if !self.written.insert(blob.digest.clone()) {
            return Ok(());
        }
        let reader = self.storage.content.reader(self.scope, &blob.digest)?;
        let mut header = header(reader.size());
        self.builder
            .append_data(&mut header, path(&blob.digest), reader.into_file())
            .map_err(unwritten)
    }

    fn saved(&self, manifest: &Reference, name: &str) -> Result<Saved, ImageError> {
        let parsed: Manifest = oci::read(&self.storage.content, self.scope, manifest)?;
        Ok(Saved {
            config: path(&parsed.config.digest),
            // A name that is none of a registry's has no place there.
            repo_tags: name
                .parse::<Name>()
                .ok()
                .map(|name| name.familiar())
                .into_iter()
                .collect(),
            layers: parsed.layers.iter().map(|layer| path(&layer.digest)).collect(),
        })
    }

    fn json(&mut self, name: &str, document: &impl Serialize) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec(document).map_err(|error| unwritten(error.into()))?;
        self.file(name, &bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ImageError> {
        self.builder
            .append_data(&mut header(bytes.len() as u64), name, bytes)
            .map_err(unwritten)
    }
}

fn platforms(wish: &ExportWish) -> Destination {
    let platforms = match (wish.all_platforms, wish.platforms.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![Platform::host()],
        (false, platforms) => platforms.to_vec(),
    };
    Destination {
        platforms,
        ..Destination::default()
    }
}

/// Where a blob lies in the archive.
fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The name of an image, whole and its tag alone.
fn annotations(name: &str) -> Labels {
    let parsed: Option<Name> = name.parse().ok();
    let tag = parsed.as_ref().and_then(Name::tag).unwrap_or(name);
    Labels::from([
        ("io.containerd.image.name".into(), name.to_owned()),
        ("org.opencontainers.image.ref.name".into(), tag.to_owned()),
    ])
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn unwritten(error: io::Error) -> ImageError {
    ImageError::Archive(format!("cannot write it: {error}"))
}
