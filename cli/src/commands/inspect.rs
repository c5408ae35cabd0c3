//! `davit inspect`

use clap::ValueEnum;
use serde_json::Value;

use crate::{
    client::{container_name, encode, image_name},
    command_error::CommandError,
    format::indent,
    output,
    session::Session,
    template::{Template, unescape},
};

/// Show everything about containers and images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show as json or TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the size of a container's files
    #[arg(short, long)]
    size: bool,
    /// What the names are
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Containers and images
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Show everything about containers
#[derive(Debug, clap::Args)]
pub struct ContainerArgs {
    /// Show as json or TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the size of the container's files
    #[arg(short, long)]
    size: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// Show everything about images
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Show as json or TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Images
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
}

/// Inspects containers and images.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let kinds = match args.kind {
        Some(Kind::Container) => &[Kind::Container][..],
        Some(Kind::Image) => &[Kind::Image],
        None => &[Kind::Container, Kind::Image],
    };
    inspect(session, &args.names, kinds, args.size, args.format.as_deref()).await
}

/// Inspects containers.
pub async fn containers(session: &Session, args: ContainerArgs) -> Result<(), CommandError> {
    inspect(
        session,
        &args.names,
        &[Kind::Container],
        args.size,
        args.format.as_deref(),
    )
    .await
}

/// Inspects images.
pub async fn images(session: &Session, args: ImageArgs) -> Result<(), CommandError> {
    inspect(session, &args.names, &[Kind::Image], false, args.format.as_deref()).await
}

async fn inspect(
    session: &Session,
    names: &[String],
    kinds: &[Kind],
    size: bool,
    format: Option<&str>,
) -> Result<(), CommandError> {
    let template = match format {
        None | Some("" | "json") => None,
        Some(format) => Some(Template::parse(&unescape(format)).map_err(|error| CommandError::bad_template(&error))?),
    };
    let mut found = Vec::new();
    let result = output::each(names, async |name| {
        let answer = find(session, name, kinds, size).await?;
        match (&template, format) {
            (Some(template), _) => output::line(template.render(&serde_json::from_str::<Value>(&answer)?)?),
            (None, Some("json")) => output::line(answer.trim()),
            (None, _) => {
                found.push(answer);
                Ok(())
            }
        }
    })
    .await;
    // The list is printed even when names are missing: what is there was asked for, too.
    if format.is_none_or(str::is_empty) {
        output::line(indent(&format!("[{}]", found.join(",")), 4))?;
    }
    result
}

/// The exact answer of the engine about the first kind of thing that has the name.
async fn find(session: &Session, name: &str, kinds: &[Kind], size: bool) -> Result<String, CommandError> {
    let mut last = None;
    for kind in kinds {
        let answer = match kind {
            Kind::Container => container(session, name, size).await,
            Kind::Image => image(session, name).await,
        };
        match answer {
            Ok(body) => return Ok(String::from_utf8_lossy(&body).into_owned()),
            Err(error) if error.is_missing() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    match (last, kinds) {
        (Some(error), [_]) => Err(error),
        _ => Err(CommandError::user(format!("no such object: {name}"))
            .hint("`davit ps -a` and `davit images` show what there is")),
    }
}

async fn container(session: &Session, name: &str, size: bool) -> Result<bytes::Bytes, CommandError> {
    let path = format!("/containers/{}/json", encode(container_name(name)?));
    let query: &[_] = if size { &[("size", "1")] } else { &[] };
    session.client().get(&path, query).await
}

async fn image(session: &Session, name: &str) -> Result<bytes::Bytes, CommandError> {
    session
        .client()
        .get(&format!("/images/{}/json", encode(image_name(name)?)), &[])
        .await
}
