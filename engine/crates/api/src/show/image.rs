use davit_engine_images::{Deleted, HistoryEntry, ImageDetails, ImageSummary};
use serde_json::{Value, json};

/// A line of `GET /images/json`.
pub fn summary(image: &ImageSummary) -> Value {
    json!({
        "Containers": -1,
        "Created": image.created.as_second(),
        "Id": image.id.as_str(),
        "Labels": image.labels,
        "ParentId": "",
        "RepoDigests": image.repo_digests,
        "RepoTags": image.repo_tags,
        "SharedSize": -1,
        "Size": image.size,
    })
}

/// `GET /images/{name}/json`.
pub fn details(details: &ImageDetails) -> Value {
    let (summary, config) = (&details.summary, &details.config);
    let mut shown = json!({
        "Id": summary.id.as_str(),
        "RepoTags": summary.repo_tags,
        "RepoDigests": summary.repo_digests,
        "Parent": "",
        "Comment": config.comment,
        "Created": config.created,
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": config.config,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": summary.size,
        "GraphDriver": { "Data": null, "Name": details.snapshotter },
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": super::time::rfc3339(details.last_tagged) },
    });
    if !config.variant.is_empty() {
        shown["Variant"] = json!(config.variant);
    }
    shown
}

/// A line of `GET /images/{name}/history`.
pub fn history(entry: &HistoryEntry) -> Value {
    json!({
        "Id": entry.id.as_ref().map_or("<missing>", |id| id.as_str()),
        "Created": entry.created.map_or(0, |created| created.as_second()),
        "CreatedBy": entry.created_by,
        "Tags": if entry.tags.is_empty() { Value::Null } else { json!(entry.tags) },
        "Size": entry.size,
        "Comment": entry.comment,
    })
}

/// A line of the answer to a removal.
pub fn deleted(deleted: &Deleted) -> Value {
    match deleted {
        Deleted::Untagged(name) => json!({ "Untagged": name }),
        Deleted::Deleted(digest) => json!({ "Deleted": digest.as_str() }),
    }
}
