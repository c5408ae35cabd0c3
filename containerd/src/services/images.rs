//! `containerd.services.images.v1.Images`.

use std::time::SystemTime;

use davit_containerd_api::services::images::v1::{
    CreateImageRequest, CreateImageResponse, DeleteImageRequest, GetImageRequest, GetImageResponse, Image as WireImage,
    ListImagesRequest, ListImagesResponse, UpdateImageRequest, UpdateImageResponse,
    images_server::{Images, ImagesServer},
};
use davit_containerd_api::types::Descriptor as WireDescriptor;
use davit_images::{Image, ImageChange, Storage};
use davit_metadata::Descriptor;
use davit_vocabulary::Digest;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::{
    limited,
    storage::{descriptor, digest, filtered, filters, labels, run, scope, timestamp, wire_descriptor},
};

struct Service {
    storage: Storage,
}

/// The service.
pub fn service(storage: &Storage) -> ImagesServer<impl Images> {
    limited!(ImagesServer::new(Service {
        storage: storage.clone(),
    }))
}

#[tonic::async_trait]
impl Images for Service {
    async fn get(&self, request: Request<GetImageRequest>) -> Result<Response<GetImageResponse>, Status> {
        let scope = scope(&request)?;
        let name = request.into_inner().name;
        let images = self.storage.images.clone();
        let image = run(move || images.get(&scope, &name)).await?;
        Ok(Response::new(GetImageResponse {
            image: Some(wire_image(image)),
        }))
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        let scope = scope(&request)?;
        let filters = filters(&request.into_inner().filters)?;
        let images = self.storage.images.clone();
        let found = run(move || images.list(&scope)).await?;
        Ok(Response::new(ListImagesResponse {
            images: filtered(found, &filters).into_iter().map(wire_image).collect(),
        }))
    }

    async fn create(&self, request: Request<CreateImageRequest>) -> Result<Response<CreateImageResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let image = given(request.image)?;
        let (target, labels) = (target(image.target.unwrap_or_default())?, labels(image.labels));
        let now = time(request.source_date_epoch);
        let images = self.storage.images.clone();
        let image = run(move || images.create(&scope, &image.name, target, labels, now)).await?;
        Ok(Response::new(CreateImageResponse {
            image: Some(wire_image(image)),
        }))
    }

    async fn update(&self, request: Request<UpdateImageRequest>) -> Result<Response<UpdateImageResponse>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let wanted = given(request.image)?;
        let paths = request.update_mask.unwrap_or_default().paths;
        let images = self.storage.images.clone();
        let now = time(request.source_date_epoch);
        let image = run(move || {
            let target = match wanted.target {
                Some(wanted) if !wanted.digest.is_empty() => target(wanted).map_err(|status| {
                    davit_images::ImageError::Invalid(status.message().trim_end_matches(": invalid argument").into())
                })?,
                // A mask of labels needs no target.
                _ => images.get(&scope, &wanted.name)?.target,
            };
            let change = ImageChange {
                name: wanted.name,
                target,
                labels: labels(wanted.labels),
                paths,
            };
            images.update(&scope, change, now)
        })
        .await?;
        Ok(Response::new(UpdateImageResponse {
            image: Some(wire_image(image)),
        }))
    }

    async fn delete(&self, request: Request<DeleteImageRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let target = request.target.map(|target| digest(&target.digest)).transpose()?;
        let storage = self.storage.clone();
        run(move || {
            storage.images.delete(&scope, &request.name, target.as_ref())?;
            if request.sync {
                storage.collect()?;
            } else {
                storage.note_removal();
            }
            Ok::<_, davit_images::ImageError>(())
        })
        .await?;
        Ok(Response::new(()))
    }
}

/// What an image is to stand for.
fn target(wire: WireDescriptor) -> Result<Descriptor, Status> {
    if let Err(error) = wire.digest.parse::<Digest>() {
        let text = format!(
            "Target.Digest {:?} invalid: {}: invalid argument",
            wire.digest,
            error.reason()
        );
        return Err(Status::invalid_argument(text));
    }
    descriptor(wire)
}

fn given(image: Option<WireImage>) -> Result<WireImage, Status> {
    let image = image.ok_or_else(|| Status::invalid_argument("image must be given: invalid argument"))?;
    if image.name.is_empty() {
        return Err(Status::invalid_argument("Image.Name required"));
    }
    Ok(image)
}

/// The time that a reproducible build asks for, or now.
fn time(epoch: Option<Timestamp>) -> SystemTime {
    epoch
        .and_then(|epoch| epoch.try_into().ok())
        .unwrap_or_else(SystemTime::now)
}

fn wire_image(image: Image) -> WireImage {
    WireImage {
        name: image.name,
        labels: image.labels.into_iter().collect(),
        target: Some(wire_descriptor(&image.target)),
        created_at: timestamp(image.created_at),
        updated_at: timestamp(image.updated_at),
    }
}
