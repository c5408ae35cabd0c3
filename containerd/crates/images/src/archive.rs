//! Image archives: a tar that is an OCI layout, or what `docker save` writes.

mod docker;

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use davit_content::{ContentError, ContentStore};
use davit_metadata::{Labels, Scope};
use davit_vocabulary::Digest;
use serde::Deserialize;
use tar::{Entry, EntryType};

use crate::{
    ImageError,
    oci::{DOCUMENT_LIMIT, OCI_INDEX, Reference},
};

const COPY: usize = 256 * 1024;

/// The blobs of an archive, by the names they have there.
#[derive(Default)]
struct Found {
    blobs: BTreeMap<String, (Digest, u64)>,
    links: Vec<(String, String)>,
    layout: Option<Layout>,
    docker: Option<Vec<docker::Saved>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    #[serde(default)]
    image_layout_version: String,
}

/// Stores every blob of an archive, compressed or not, and returns its index: the one it has, or one made of what
/// `docker save` wrote.
pub fn import(content: &ContentStore, scope: &Scope, archive: impl Read + Send) -> Result<Reference, ImageError> {
    let found = davit_archive::with_plain(archive, |plain| {
        let found = read_all(content, scope, plain)?;
        // What follows the last entry is read too: a sender must not be left waiting.
        io::copy(plain, &mut io::sink()).map_err(unreadable)?;
        Ok::<_, ImageError>(found)
    })?;
    match found.layout {
        Some(layout) if layout.image_layout_version != "1.0.0" => Err(ImageError::Archive(format!(
            "unsupported OCI layout version {:?}",
            layout.image_layout_version
        ))),
        Some(_) => {
            let index = found.blobs.get("index.json");
            let (digest, size) = index
                .ok_or_else(|| ImageError::Archive("missing index.json in OCI layout".into()))?
                .clone();
            Ok(Reference {
                media_type: OCI_INDEX.into(),
                digest,
                size,
                annotations: Labels::new(),
                platform: None,
            })
        }
        None => docker::index(content, scope, found),
    }
}

fn read_all(content: &ContentStore, scope: &Scope, plain: &mut impl Read) -> Result<Found, ImageError> {
    let mut found = Found::default();
    davit_archive::for_each_entry(plain, unreadable, |entry| {
        let Some(name) = clean(&String::from_utf8_lossy(&entry.path_bytes())) else {
            return Ok(());
        };
        match entry.header().entry_type() {
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                let target = clean(&format!("{folder}/{}", String::from_utf8_lossy(&target)));
                found.links.extend(target.map(|target| (name, target)));
                Ok(())
            }
            EntryType::Regular => read_file(content, scope, entry, name, &mut found),
            _ => Ok(()),
        }
    })?;
    Ok(found)
}

fn read_file<R: Read>(
    content: &ContentStore,
    scope: &Scope,
    entry: &mut Entry<'_, R>,
    name: String,
    found: &mut Found,
) -> Result<(), ImageError> {
    match name.as_str() {
        "oci-layout" => found.layout = Some(document(entry, &name)?),
        "manifest.json" => found.docker = Some(document(entry, &name)?),
        _ => {
            let size = entry.size();
            let digest = store(content, scope, entry, &name, size)?;
            found.blobs.insert(name, (digest, size));
        }
    }
    Ok(())
}

/// Stores a file as a blob. One that the layout names by its digest must have that digest.
fn store(
    content: &ContentStore,
    scope: &Scope,
    source: &mut impl Read,
    name: &str,
    size: u64,
) -> Result<Digest, ImageError> {
    let expected: Option<Digest> = name
        .strip_prefix("blobs/")
        .and_then(|rest| rest.replacen('/', ":", 1).parse().ok());
    let reference = format!("tar-{name}");
    let mut writer = match content.writer(scope, &reference, expected, size) {
        Err(ContentError::Exists(digest)) => {
            content.hold(scope, &digest)?;
            return Ok(digest);
        }
        other => other?,
    };
    // What an earlier attempt left may be of another archive, and the bytes come anyway.
    writer.seek(0)?;
    let mut buffer = vec![0; COPY];
    loop {
        match source.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            count => writer.write(&buffer[..count])?,
        }
    }
    let digest = writer.digest();
    match writer.commit(Some(size), None, Labels::new()) {
        Ok(digest) => Ok(digest),
        Err(ContentError::Exists(_)) => Ok(digest),
        Err(error) => {
            drop(content.abort(scope, &reference));
            Err(error.into())
        }
    }
}

fn document<T: for<'a> Deserialize<'a>>(source: &mut impl Read, name: &str) -> Result<T, ImageError> {
    let mut bytes = Vec::new();
    source
        .take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    serde_json::from_slice(&bytes).map_err(|error| ImageError::Archive(format!("{name}: {error}")))
}

/// A name without `.`, `..` and double slashes; `None` where nothing is left.
fn clean(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

fn unreadable(error: io::Error) -> ImageError {
    ImageError::Archive(error.to_string())
}
