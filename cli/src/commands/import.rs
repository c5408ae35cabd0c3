//! `davit import`

use std::path::PathBuf;

use bollard::{body_try_stream, query_parameters::CreateImageOptions};
use futures::StreamExt;

use super::{
    load::{chunks, open},
    tag::split,
};
use crate::{client::image_name, command_error::CommandError, output, session::Session, terminal};

/// Make an image from a tar archive of a root file system
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Dockerfile instructions to apply (CMD, ENV, …)
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment for the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Platform of the image (os/architecture)
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// Archive, or - for standard input
    #[arg(value_name = "FILE|-")]
    source: PathBuf,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Imports an image and shows its id.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let source = args.source.to_string_lossy();
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err(CommandError::unsupported("import from a URL").hint("`curl URL | davit import -` does the same"));
    }
    let archive = match source.as_ref() {
        "-" if terminal::stdin_is_terminal() => {
            return Err(CommandError::user("standard input is a terminal, not an archive"));
        }
        "-" => Box::new(std::io::stdin()),
        _ => open(&args.source)?,
    };
    let named = args.reference.as_deref().map(image_name).transpose()?.map(split);
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: named.map(|(repository, _)| repository.to_owned()),
        tag: named.map(|(_, tag)| tag.unwrap_or("latest").to_owned()),
        message: args.message,
        changes: args.change,
        platform: args.platform,
        ..CreateImageOptions::default()
    };
    let mut steps = session
        .docker()
        .create_image(Some(options), Some(body_try_stream(chunks(archive))), None);
    while let Some(step) = steps.next().await {
        // The engine says nothing but the id, as a status.
        if let Some(status) = step?.status {
            output::line(status)?;
        }
    }
    Ok(())
}
