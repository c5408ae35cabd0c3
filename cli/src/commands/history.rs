//! `davit history`

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    client::{encode, image_name},
    command_error::CommandError,
    format::{Column, Listing, ago, decimal, fixed, flexible, rfc3339},
    output,
    session::Session,
};

/// Show the steps that made an image
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show as json, "table TEMPLATE" or TEMPLATE
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show sizes and times for people
    #[arg(
        short = 'H',
        long,
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    human: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Image
    image: String,
}

const COLUMNS: &[Column] = &[
    fixed("ID", "IMAGE"),
    fixed("CreatedSince", "CREATED"),
    fixed("CreatedAt", "CREATED AT"),
    flexible("CreatedBy", "CREATED BY"),
    fixed("Size", "SIZE"),
    flexible("Comment", "COMMENT"),
];

/// One step. bollard's own type wants fields that engines leave out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Step {
    id: String,
    created: i64,
    created_by: String,
    size: i64,
    comment: String,
}

/// Shows an image's steps, the newest first.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let path = format!("/images/{}/history", encode(image_name(&args.image)?));
    let steps: Vec<Step> = session.client().get_json(&path, &[]).await?;
    if args.quiet && args.format.is_none() {
        for step in &steps {
            output::line(id(step, args.no_trunc))?;
        }
        return Ok(());
    }
    let created = if args.human { "CreatedSince" } else { "CreatedAt" };
    Listing {
        columns: COLUMNS,
        shown: &["ID", created, "CreatedBy", "Size", "Comment"],
        rows: steps.iter().map(|step| row(step, &args)).collect(),
        cut: !args.no_trunc,
    }
    .print(args.format.as_deref())
}

fn row(step: &Step, args: &Args) -> Map<String, Value> {
    let created = Timestamp::from_second(step.created).unwrap_or_default();
    let by = step.created_by.replace('\t', " ");
    let by = match by.char_indices().nth(44) {
        Some((end, _)) if !args.no_trunc => format!("{}…", &by[..end]),
        _ => by,
    };
    let fields = json!({
        "ID": id(step, args.no_trunc),
        "CreatedSince": if step.created <= 0 { "N/A".to_owned() } else { ago(created) },
        "CreatedAt": rfc3339(created),
        "CreatedBy": by,
        "Size": if args.human { decimal(step.size) } else { step.size.to_string() },
        "Comment": step.comment,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn id(step: &Step, whole: bool) -> &str {
    if whole || !step.id.starts_with("sha256:") {
        return &step.id;
    }
    step.id.get(7..19).unwrap_or(&step.id)
}
