//! `containerd.services.snapshots.v1.Snapshots`.

use davit_containerd_api::services::snapshots::v1::{
    CleanupRequest, CommitSnapshotRequest, Info as WireInfo, Kind as WireKind, ListSnapshotsRequest,
    ListSnapshotsResponse, MountsRequest, MountsResponse, PrepareSnapshotRequest, PrepareSnapshotResponse,
    RemoveSnapshotRequest, StatSnapshotRequest, StatSnapshotResponse, UpdateSnapshotRequest, UpdateSnapshotResponse,
    UsageRequest, UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
    snapshots_server::{Snapshots, SnapshotsServer},
};
use davit_images::Storage;
use davit_metadata::{Scope, SnapshotKind};
use davit_snapshots::{Info, NAME, Overlay, Preparation, SnapshotError};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status};

use super::{
    limited,
    mounts::wire_mounts,
    storage::{filtered, filters, labels, run, scope, timestamp},
};

/// Snapshots in one message of a list, as containerd sends them.
const LIST_CHUNK: usize = 100;

struct Service {
    overlay: Overlay,
}

/// The service.
pub fn service(storage: &Storage) -> SnapshotsServer<impl Snapshots> {
    limited!(SnapshotsServer::new(Service {
        overlay: storage.snapshots.clone(),
    }))
}

impl Service {
    /// Runs work on the snapshotter that a call names.
    async fn on<T: Send + 'static>(
        &self,
        snapshotter: &str,
        work: impl FnOnce(&Overlay) -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, Status> {
        if snapshotter.is_empty() {
            return Err(Status::invalid_argument(
                "snapshotter argument missing: invalid argument",
            ));
        }
        if snapshotter != NAME {
            let text = format!("snapshotter not loaded: {snapshotter}: invalid argument");
            return Err(Status::invalid_argument(text));
        }
        let overlay = self.overlay.clone();
        run(move || work(&overlay)).await
    }
}

#[tonic::async_trait]
impl Snapshots for Service {
    type ListStream = BoxStream<'static, Result<ListSnapshotsResponse, Status>>;

    async fn prepare(
        &self,
        request: Request<PrepareSnapshotRequest>,
    ) -> Result<Response<PrepareSnapshotResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let wanted = Preparation {
            key: request.key,
            parent: request.parent,
            labels: labels(request.labels),
        };
        let mounts = self
            .on(&request.snapshotter, move |overlay| overlay.prepare(&scope, wanted))
            .await?;
        Ok(Response::new(PrepareSnapshotResponse {
            mounts: wire_mounts(mounts),
        }))
    }

    async fn view(&self, request: Request<ViewSnapshotRequest>) -> Result<Response<ViewSnapshotResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let wanted = Preparation {
            key: request.key,
            parent: request.parent,
            labels: labels(request.labels),
        };
        let mounts = self
            .on(&request.snapshotter, move |overlay| overlay.view(&scope, wanted))
            .await?;
        Ok(Response::new(ViewSnapshotResponse {
            mounts: wire_mounts(mounts),
        }))
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Result<Response<MountsResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let mounts = self
            .on(&request.snapshotter, move |overlay| {
                overlay.mounts(&scope, &request.key)
            })
            .await?;
        Ok(Response::new(MountsResponse {
            mounts: wire_mounts(mounts),
        }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        self.on(&request.snapshotter, move |overlay| {
            overlay.commit(
                &scope,
                &request.key,
                &request.name,
                &request.parent,
                labels(request.labels),
            )
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        self.on(&request.snapshotter, move |overlay| {
            overlay.remove(&scope, &request.key)
        })
        .await?;
        Ok(Response::new(()))
    }

    async fn stat(&self, request: Request<StatSnapshotRequest>) -> Result<Response<StatSnapshotResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let info = self
            .on(&request.snapshotter, move |overlay| overlay.stat(&scope, &request.key))
            .await?;
        Ok(Response::new(StatSnapshotResponse {
            info: Some(wire_info(info)),
        }))
    }

    async fn update(
        &self,
        request: Request<UpdateSnapshotRequest>,
    ) -> Result<Response<UpdateSnapshotResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let info = request
            .info
            .ok_or_else(|| Status::invalid_argument("info must be given: invalid argument"))?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let info = self
            .on(&request.snapshotter, move |overlay| {
                overlay.update(&scope, &info.name, &paths, labels(info.labels))
            })
            .await?;
        Ok(Response::new(UpdateSnapshotResponse {
            info: Some(wire_info(info)),
        }))
    }

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Result<Response<Self::ListStream>, Status> {
        let scope: Scope = scope(&request)?;
        let request = request.into_inner();
        let filters = filters(&request.filters)?;
        let infos = self
            .on(&request.snapshotter, move |overlay| overlay.list(&scope))
            .await?;
        let infos: Vec<WireInfo> = filtered(infos, &filters).into_iter().map(wire_info).collect();
        let chunks: Vec<_> = infos
            .chunks(LIST_CHUNK)
            .map(|chunk| Ok(ListSnapshotsResponse { info: chunk.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Result<Response<UsageResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let usage = self
            .on(&request.snapshotter, move |overlay| overlay.usage(&scope, &request.key))
            .await?;
        Ok(Response::new(UsageResponse {
            size: i64::try_from(usage.size).unwrap_or(i64::MAX),
            inodes: i64::try_from(usage.inodes).unwrap_or(i64::MAX),
        }))
    }

    async fn cleanup(&self, request: Request<CleanupRequest>) -> Result<Response<()>, Status> {
        scope(&request)?;
        self.on(&request.into_inner().snapshotter, Overlay::cleanup).await?;
        Ok(Response::new(()))
    }
}

fn wire_info(info: Info) -> WireInfo {
    let kind = match info.kind {
        SnapshotKind::View => WireKind::View,
        SnapshotKind::Active => WireKind::Active,
        SnapshotKind::Committed => WireKind::Committed,
    };
    WireInfo {
        name: info.key,
        parent: info.parent,
        kind: kind.into(),
        created_at: timestamp(info.created_at),
        updated_at: timestamp(info.updated_at),
        labels: info.labels.into_iter().collect(),
    }
}
