//! `davit rmi`

use bollard::query_parameters::RemoveImageOptions;

use crate::{client::image_name, command_error::CommandError, output, session::Session};

/// Remove images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove them even when they have other names or stopped containers
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes images, each on its own.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let options = RemoveImageOptions {
        force: args.force,
        noprune: args.no_prune,
        platforms: None,
    };
    output::each(&args.images, async |name| {
        let removed = session
            .docker()
            .remove_image(image_name(name)?, Some(options.clone()), None)
            .await;
        match removed.map_err(CommandError::from) {
            Err(error) if args.force && error.is_not_found() => output::note(format_args!("davit: {error}")),
            Err(error) => return Err(error),
            Ok(steps) => {
                for step in steps {
                    if let Some(deleted) = step.deleted {
                        output::line(format_args!("Deleted: {deleted}"))?;
                    }
                    if let Some(untagged) = step.untagged {
                        output::line(format_args!("Untagged: {untagged}"))?;
                    }
                }
            }
        }
        Ok(())
    })
    .await
}
