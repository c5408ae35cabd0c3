//! `containerd.services.diff.v1.Diff`.

use std::fs::File;

use davit_archive::{ArchiveError, Compression, Target};
use davit_containerd_api::{
    services::diff::v1::{
        ApplyRequest, ApplyResponse, DiffRequest, DiffResponse,
        diff_server::{Diff, DiffServer},
    },
    types::Descriptor as WireDescriptor,
};
use davit_images::{DiffWish, Storage};
use davit_snapshots::Mount;
use tonic::{Request, Response, Status};

use super::{
    blocking, limited,
    mounts::mounts,
    storage::{descriptor, failed, labels, run, scope, wire_descriptor},
};

/// The media type of what was applied: always the plain archive.
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

struct Service {
    storage: Storage,
}

/// The service.
pub fn service(storage: &Storage) -> DiffServer<impl Diff> {
    limited!(DiffServer::new(Service {
        storage: storage.clone(),
    }))
}

#[tonic::async_trait]
impl Diff for Service {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let layer = descriptor(request.diff.unwrap_or_default())?;
        Compression::check_media_type(&layer.media_type).map_err(failed)?;
        let target = target(&mounts(request.mounts))?;
        let storage = self.storage.clone();
        let applied = blocking(move || {
            let reader = storage.content.reader(&scope, &layer.digest).map_err(failed)?;
            let applied = davit_archive::apply(reader.into_file(), &target).map_err(failed)?;
            if request.sync_fs {
                sync(&target).map_err(failed)?;
            }
            Ok::<_, Status>(applied)
        })
        .await?;
        Ok(Response::new(ApplyResponse {
            applied: Some(WireDescriptor {
                media_type: PLAIN_LAYER.into(),
                digest: applied.diff_id.to_string(),
                size: i64::try_from(applied.size).unwrap_or(i64::MAX),
                ..WireDescriptor::default()
            }),
        }))
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        if request.source_date_epoch.is_some() {
            return Err(Status::unimplemented(
                "a diff with a source date epoch is not offered: not implemented",
            ));
        }
        let wish = DiffWish {
            left: mounts(request.left),
            right: mounts(request.right),
            media_type: request.media_type,
            reference: request.r#ref,
            labels: labels(request.labels),
        };
        let storage = self.storage.clone();
        let layer = run(move || storage.diff(&scope, wish)).await?;
        Ok(Response::new(DiffResponse {
            diff: Some(wire_descriptor(&layer)),
        }))
    }
}

/// A layer is written into the directory behind the mounts, without mounting them.
fn target(mounts: &[Mount]) -> Result<Target, Status> {
    let layer = Mount::layer(mounts).ok_or_else(|| {
        Status::unimplemented("a layer can be applied to one bind mount or one writable overlay: not implemented")
    })?;
    Ok(Target {
        upper: layer.upper,
        lower: layer.lower,
        is_overlay: layer.is_overlay,
    })
}

fn sync(target: &Target) -> Result<(), ArchiveError> {
    let failure = |source| ArchiveError::Write {
        action: "sync",
        name: target.upper.display().to_string(),
        source,
    };
    let folder = File::open(&target.upper).map_err(failure)?;
    rustix::fs::syncfs(&folder).map_err(|error| failure(error.into()))
}
