//! `davit tag`

use bollard::query_parameters::TagImageOptions;

use crate::{client::image_name, command_error::CommandError, session::Session};

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Image
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Its new name
    #[arg(value_name = "TARGET")]
    target: String,
}

/// Names an image.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let (repository, tag) = split(image_name(&args.target)?);
    let options = TagImageOptions {
        repo: Some(repository.to_owned()),
        tag: Some(tag.unwrap_or("latest").to_owned()),
    };
    Ok(session
        .docker()
        .tag_image(image_name(&args.source)?, Some(options))
        .await?)
}

/// Parts `host:5000/name:tag` into name and tag.
pub fn split(reference: &str) -> (&str, Option<&str>) {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (reference, None),
    }
}
