//! `davit create`

use std::{fs, path::Path};

use bollard::{models::ContainerCreateBody, query_parameters::CreateContainerOptions};

use super::{pull::pull, tag::split};
use crate::{
    client::image_name,
    command_error::CommandError,
    flags::{CreateFlags, PullPolicy},
    output,
    progress::{Progress, Target},
    session::Session,
};

/// Create a container and do not start it
#[derive(Debug, clap::Args)]
#[command(override_usage = "davit create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct Args {
    #[command(flatten)]
    flags: CreateFlags,
}

/// Creates a container and shows its id.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let request = args.flags.request()?;
    let id = create(session, &args.flags, &request.image, request.body).await?;
    output::line(id)
}

/// Creates a container, downloading its image where that is needed, and gives its id.
pub async fn create(
    session: &Session,
    flags: &CreateFlags,
    image: &str,
    body: ContainerCreateBody,
) -> Result<String, CommandError> {
    if let Some(path) = &flags.cidfile {
        refuse_existing(path)?;
    }
    let reference = full_reference(image_name(image)?);
    if flags.pull == PullPolicy::Always {
        download(session, flags, &reference).await?;
    }
    let options = CreateContainerOptions {
        name: flags.name.clone(),
        platform: flags.platform.clone(),
    };
    let created = session
        .docker()
        .create_container(Some(options.clone()), body.clone())
        .await;
    let created = match created.map_err(CommandError::from) {
        Err(error) if error.is_missing_image() && flags.pull == PullPolicy::Missing => {
            output::note(format_args!("Unable to find image '{reference}' locally"));
            download(session, flags, &reference).await?;
            session.docker().create_container(Some(options), body).await?
        }
        created => created?,
    };
    for warning in created.warnings {
        output::note(format_args!("WARNING: {warning}"));
    }
    if let Some(path) = &flags.cidfile {
        fs::write(path, &created.id)?;
    }
    Ok(created.id)
}

async fn download(session: &Session, flags: &CreateFlags, reference: &str) -> Result<(), CommandError> {
    let progress = Progress::new(Target::Stderr, flags.quiet);
    pull(session, reference, &flags.platform, progress).await
}

fn full_reference(image: &str) -> String {
    match image.contains('@') || split(image).1.is_some() {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

fn refuse_existing(path: &Path) -> Result<(), CommandError> {
    match path.exists() {
        true => Err(
            CommandError::usage(format!("container ID file found: {}", path.display()))
                .hint("make sure the other container does not run, or remove the file"),
        ),
        false => Ok(()),
    }
}
