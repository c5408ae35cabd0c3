//! `containerd.services.content.v1.Content`.

mod read;
mod write;

use davit_containerd_api::services::content::v1::{
    AbortRequest, DeleteContentRequest, Info as WireInfo, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest, ReadContentResponse,
    Status as WireStatus, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, WriteContentRequest,
    WriteContentResponse,
    content_server::{Content, ContentServer},
};
use davit_content::{ContentError, ContentStore, Info, Status as WriteStatus};
use davit_images::Storage;
use davit_metadata::{LabelChange, NotALabel, filter::Filters};
use davit_vocabulary::Digest;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    in_words, limited,
    storage::{digest, failed, filtered, labels, run, scope, timestamp},
};

/// Blobs in one message of a list, as containerd sends them.
const LIST_CHUNK: usize = 100;

struct Service {
    content: ContentStore,
}

/// The service.
pub fn service(storage: &Storage) -> ContentServer<impl Content> {
    limited!(ContentServer::new(Service {
        content: storage.content.clone(),
    }))
}

#[tonic::async_trait]
impl Content for Service {
    type ListStream = BoxStream<'static, Result<ListContentResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<ReadContentResponse, Status>>;
    type WriteStream = BoxStream<'static, Result<WriteContentResponse, Status>>;

    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let scope = scope(&request)?;
        let digest = validated(&request.into_inner().digest)?;
        let content = self.content.clone();
        let info = run(move || content.info(&scope, &digest)).await?;
        Ok(Response::new(InfoResponse {
            info: Some(wire_info(info)),
        }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let info = request
            .info
            .ok_or_else(|| Status::invalid_argument("info must be given: invalid argument"))?;
        let digest = validated(&info.digest)?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let changes = LabelChange::from_mask(&paths, labels(info.labels)).map_err(|NotALabel(field)| {
            failed(ContentError::Immutable {
                field,
                digest: digest.clone(),
            })
        })?;
        let content = self.content.clone();
        let info = run(move || content.update(&scope, &digest, changes)).await?;
        Ok(Response::new(UpdateResponse {
            info: Some(wire_info(info)),
        }))
    }

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Response<Self::ListStream>, Status> {
        let scope = scope(&request)?;
        let filters = content_filters(&request.into_inner().filters)?;
        let content = self.content.clone();
        let infos = run(move || content.list(&scope)).await?;
        let infos: Vec<WireInfo> = filtered(infos, &filters).into_iter().map(wire_info).collect();
        let chunks: Vec<_> = infos
            .chunks(LIST_CHUNK)
            .map(|chunk| Ok(ListContentResponse { info: chunk.to_vec() }))
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn delete(&self, request: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let digest = digest(&request.into_inner().digest)?;
        let content = self.content.clone();
        run(move || content.delete(&scope, &digest)).await?;
        Ok(Response::new(()))
    }

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let scope = scope(&request)?;
        Ok(Response::new(
            read::stream(self.content.clone(), scope, request.into_inner()).await?,
        ))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let tried = format!("could not get status for ref {:?}", request.get_ref().r#ref);
        let scope = scope(&request).map_err(|status| in_words(&tried, status))?;
        let reference = request.into_inner().r#ref;
        let content = self.content.clone();
        let status = run(move || content.status(&scope, &reference)).await;
        let status = status.map_err(|status| in_words(&tried, status))?;
        Ok(Response::new(StatusResponse {
            status: Some(wire_status(status)),
        }))
    }

    async fn list_statuses(
        &self,
        request: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        let scope = scope(&request)?;
        let filters = content_filters(&request.into_inner().filters)?;
        let content = self.content.clone();
        let statuses = run(move || content.statuses(&scope)).await?;
        Ok(Response::new(ListStatusesResponse {
            statuses: filtered(statuses, &filters).into_iter().map(wire_status).collect(),
        }))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let scope = scope(&request)?;
        Ok(Response::new(write::stream(
            self.content.clone(),
            scope,
            request.into_inner(),
        )))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let reference = request.into_inner().r#ref;
        let content = self.content.clone();
        run(move || content.abort(&scope, &reference)).await?;
        Ok(Response::new(()))
    }
}

fn content_filters(texts: &[String]) -> Result<Filters, Status> {
    Filters::parse(texts).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The digest of a blob that is asked about.
fn validated(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|_| Status::invalid_argument(format!("{text:?} failed validation")))
}

fn wire_info(info: Info) -> WireInfo {
    WireInfo {
        digest: info.digest.to_string(),
        size: i64::try_from(info.size).unwrap_or(i64::MAX),
        created_at: timestamp(info.created_at),
        updated_at: timestamp(info.updated_at),
        labels: info.labels.into_iter().collect(),
    }
}

fn wire_status(status: WriteStatus) -> WireStatus {
    WireStatus {
        started_at: timestamp(status.started_at),
        updated_at: timestamp(status.updated_at),
        r#ref: status.reference,
        offset: i64::try_from(status.offset).unwrap_or(i64::MAX),
        total: i64::try_from(status.total).unwrap_or(i64::MAX),
        expected: status.expected.map(|digest| digest.to_string()).unwrap_or_default(),
    }
}
