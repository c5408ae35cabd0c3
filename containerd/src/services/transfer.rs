//! `containerd.services.transfer.v1.Transfer`: an archive or a registry into the image store, one name to another, and
//! images into an archive.

mod convert;
mod credentials;
mod progress;
mod sink;
mod source;

use davit_containerd_api::{
    any,
    services::transfer::v1::{
        TransferRequest,
        transfer_server::{Transfer, TransferServer},
    },
    types::transfer::{ImageExportStream, ImageImportStream, ImageStore, OciRegistry},
};
use davit_images::{Destination, Reporter, Storage};
use davit_metadata::Scope;
use prost::{Message, Name};
use prost_types::Any;
use tonic::{Request, Response, Status};

use super::{
    limited,
    storage::{failed, run, scope},
    streaming::Streams,
};

struct Service {
    storage: Storage,
    streams: Streams,
}

/// The service. It takes the streams that clients have opened with the streaming service.
pub fn service(storage: &Storage, streams: Streams) -> TransferServer<impl Transfer> {
    limited!(TransferServer::new(Service {
        storage: storage.clone(),
        streams,
    }))
}

#[tonic::async_trait]
impl Transfer for Service {
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let progress = request.options.unwrap_or_default().progress_stream;
        let (reporter, telling) = match progress.as_str() {
            "" => (Reporter::silent(), None),
            id => {
                let (reporter, telling) = progress::reporter(self.streams.take(&scope.namespace, id)?);
                (reporter, Some(telling))
            }
        };
        let source = request.source.unwrap_or_default();
        let destination = request.destination.unwrap_or_default();
        let result = self.dispatch(&scope, &source, &destination, reporter).await;
        if let Some(telling) = telling {
            telling.finish().await;
        }
        result.map(|()| Response::new(()))
    }
}

impl Service {
    async fn dispatch(&self, scope: &Scope, source: &Any, destination: &Any, reporter: Reporter) -> Result<(), Status> {
        if let (Some(store), Some(archive)) = (decode(source)?, decode(destination)?) {
            return self.export(scope, store, archive, reporter).await;
        }
        let Some(store) = decode::<ImageStore>(destination)? else {
            return Err(not_offered(source, destination));
        };
        let destination_store = convert::destination(store);
        destination_store.check().map_err(failed)?;
        if let Some(archive) = decode::<ImageImportStream>(source)? {
            return self.import(scope, archive, destination_store, reporter).await;
        }
        if let Some(registry) = decode::<OciRegistry>(source)? {
            return self.pull(scope, registry, destination_store, reporter).await;
        }
        if let Some(image) = decode::<ImageStore>(source)? {
            return self.tag(scope, image.name, destination_store).await;
        }
        Err(not_offered(source, destination))
    }

    async fn import(
        &self,
        scope: &Scope,
        archive: ImageImportStream,
        destination: Destination,
        reporter: Reporter,
    ) -> Result<(), Status> {
        if archive.force_compress {
            return Err(Status::unimplemented(
                "compressing the layers of an import is not offered: not implemented",
            ));
        }
        let stream = self.streams.take(&scope.namespace, &archive.stream)?;
        let (storage, scope) = (self.storage.clone(), scope.clone());
        let reader = source::StreamReader::new(stream);
        run(move || storage.import(&scope, reader, &destination, &reporter)).await?;
        Ok(())
    }

    async fn export(
        &self,
        scope: &Scope,
        source: ImageStore,
        archive: ImageExportStream,
        reporter: Reporter,
    ) -> Result<(), Status> {
        let wish = convert::export_wish(source, &archive)?;
        let stream = self.streams.take(&scope.namespace, &archive.stream)?;
        let (storage, scope) = (self.storage.clone(), scope.clone());
        let writer = sink::StreamWriter::new(stream);
        run(move || storage.export(&scope, &wish, writer, &reporter)).await
    }

    async fn pull(
        &self,
        scope: &Scope,
        source: OciRegistry,
        destination: Destination,
        reporter: Reporter,
    ) -> Result<(), Status> {
        let resolver = source.resolver.unwrap_or_default();
        let registry = convert::registry(&resolver)?;
        let registry = match resolver.auth_stream.as_str() {
            "" => registry,
            id => registry.with_credentials(credentials::callback(self.streams.take(&scope.namespace, id)?)),
        };
        let repository = registry.repository(convert::reference(&source.reference)?);
        let pulled = self.storage.pull(scope, repository, destination, reporter).await;
        pulled.map(drop).map_err(failed)
    }

    async fn tag(&self, scope: &Scope, source: String, destination: Destination) -> Result<(), Status> {
        let (storage, scope) = (self.storage.clone(), scope.clone());
        run(move || storage.tag(&scope, &source, &destination)).await?;
        Ok(())
    }
}

/// The message, where `any` holds one of this type.
fn decode<M: Message + Name + Default>(any: &Any) -> Result<Option<M>, Status> {
    any::unpack(any)
        .transpose()
        .map_err(|error| Status::invalid_argument(format!("{}: {error}", any.type_url)))
}

fn not_offered(source: &Any, destination: &Any) -> Status {
    let text = format!(
        "method Transfer not implemented for {} to {}: not implemented",
        source.type_url, destination.type_url
    );
    Status::unimplemented(text)
}
