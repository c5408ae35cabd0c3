//! `davit pull`

use bollard::query_parameters::CreateImageOptions;
use futures::StreamExt;

use super::tag::split;
use crate::{
    client::image_name,
    command_error::CommandError,
    output,
    progress::{Progress, Step, Target},
    session::Session,
};

/// Download an image from a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Platform of the image (os/architecture)
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    platform: String,
    /// Show only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    image: String,
}

/// Downloads an image.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let mut reference = image_name(&args.image)?.to_owned();
    if !reference.contains('@') && split(&reference).1.is_none() {
        reference.push_str(":latest");
        if !args.quiet {
            output::line("Using default tag: latest")?;
        }
    }
    let progress = Progress::new(Target::Stdout, args.quiet);
    pull(session, &reference, &args.platform, progress).await?;
    output::line(full_name(&reference))
}

/// Downloads an image and shows how far it is.
pub async fn pull(
    session: &Session,
    reference: &str,
    platform: &str,
    mut progress: Progress,
) -> Result<(), CommandError> {
    let (name, tag) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => split(reference),
    };
    let options = CreateImageOptions {
        from_image: Some(name.to_owned()),
        tag: Some(tag.unwrap_or("latest").to_owned()),
        platform: platform.to_owned(),
        ..CreateImageOptions::default()
    };
    let mut steps = session.docker().create_image(Some(options), None, None);
    while let Some(step) = steps.next().await {
        let step = step?;
        let detail = step.progress_detail.unwrap_or_default();
        progress.show(&Step {
            id: step.id.as_deref(),
            status: step.status.as_deref().unwrap_or_default(),
            current: detail.current,
            total: detail.total,
        })?;
    }
    progress.finish()
}

/// The name with the registry and folder that it means.
fn full_name(reference: &str) -> String {
    let has_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    match reference.split_once('/') {
        Some((first, _)) if has_registry(first) => reference.to_owned(),
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn short_names_mean_the_hub() {
        let check = |short: &str, full: &str| assert_eq!(full_name(short), full);
        check("busybox:latest", "docker.io/library/busybox:latest");
        check("me/app:1", "docker.io/me/app:1");
        check("localhost/app:1", "localhost/app:1");
        check("127.0.0.1:5000/app:1", "127.0.0.1:5000/app:1");
        check("reg.example/a/b@sha256:0", "reg.example/a/b@sha256:0");
    }
}
