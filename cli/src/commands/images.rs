//! `davit images`

use bollard::{models::ImageSummary, query_parameters::ListImagesOptions};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    command_error::CommandError,
    flags::filters,
    format::{Column, Listing, Local, ago, decimal, fixed, flexible},
    output,
    session::Session,
};

/// List images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show intermediate images, too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only those that match (dangling=true, reference=…, label=… …)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show as json, "table TEMPLATE" or TEMPLATE
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Only the images of this repository
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

const COLUMNS: &[Column] = &[
    flexible("Repository", "REPOSITORY"),
    fixed("Tag", "TAG"),
    flexible("Digest", "DIGEST"),
    fixed("ID", "IMAGE ID"),
    flexible("CreatedSince", "CREATED"),
    fixed("CreatedAt", "CREATED AT"),
    fixed("Size", "SIZE"),
    fixed("Containers", "CONTAINERS"),
    fixed("SharedSize", "SHARED SIZE"),
    fixed("UniqueSize", "UNIQUE SIZE"),
    fixed("VirtualSize", "SIZE"),
];

const NONE: &str = "<none>";

/// Lists images.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let mut wanted = args.filter.clone();
    wanted.extend(
        args.reference
            .as_ref()
            .map(|reference| format!("reference={reference}")),
    );
    let options = ListImagesOptions {
        all: args.all,
        digests: args.digests,
        filters: filters(&wanted)?,
        ..ListImagesOptions::default()
    };
    let images = session.docker().list_images(Some(options)).await?;
    if args.quiet && args.format.is_none() {
        for image in &images {
            output::line(id(image, args.no_trunc))?;
        }
        return Ok(());
    }
    let shown: &[&str] = match args.digests {
        true => &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
        false => &["Repository", "Tag", "ID", "CreatedSince", "Size"],
    };
    Listing {
        columns: COLUMNS,
        shown,
        rows: images
            .iter()
            .flat_map(|image| rows(image, args.digests, args.no_trunc))
            .collect(),
        cut: !args.no_trunc,
    }
    .print(args.format.as_deref())
}

/// A row for each tag, and with digests one for each digest, too.
fn rows(image: &ImageSummary, digests: bool, whole: bool) -> Vec<Map<String, Value>> {
    let named = |reference: &&String| !reference.starts_with(NONE);
    let digest_of = |repository: &str| {
        let with = format!("{repository}@");
        image
            .repo_digests
            .iter()
            .find_map(|digest| digest.strip_prefix(&with))
            .unwrap_or(NONE)
    };
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    for tag in image.repo_tags.iter().filter(named) {
        let (repository, tag) = tag.rsplit_once(':').unwrap_or((tag, NONE));
        seen.push(repository);
        rows.push(row(image, repository, tag, digest_of(repository), whole));
    }
    for digest in image.repo_digests.iter().filter(named) {
        let (repository, digest) = digest.split_once('@').unwrap_or((digest, NONE));
        if seen.contains(&repository) || (!digests && !rows.is_empty()) {
            continue;
        }
        seen.push(repository);
        rows.push(row(image, repository, NONE, digest, whole));
    }
    if rows.is_empty() {
        rows.push(row(image, NONE, NONE, NONE, whole));
    }
    rows
}

fn row(image: &ImageSummary, repository: &str, tag: &str, digest: &str, whole: bool) -> Map<String, Value> {
    let created = Timestamp::from_second(image.created).unwrap_or_default();
    let known = |number: i64, shown: String| if number < 0 { "N/A".to_owned() } else { shown };
    let fields = json!({
        "ID": id(image, whole),
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "CreatedSince": if image.created == 0 { "N/A".to_owned() } else { ago(created) },
        "CreatedAt": Local(created).to_string(),
        "Size": decimal(image.size),
        "VirtualSize": decimal(image.size),
        "Containers": known(image.containers, image.containers.to_string()),
        "SharedSize": known(image.shared_size, decimal(image.shared_size)),
        "UniqueSize": known(image.shared_size, decimal(image.size - image.shared_size)),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn id(image: &ImageSummary, whole: bool) -> &str {
    let id = image.id.as_str();
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    if whole { id } else { hex.get(..12).unwrap_or(hex) }
}
