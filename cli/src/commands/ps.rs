//! `davit ps`

use bollard::{
    models::{ContainerSummary, PortSummary},
    query_parameters::ListContainersOptions,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    command_error::CommandError,
    flags::filters,
    format::{Column, Listing, Local, ago, decimal, fixed, flexible},
    output,
    session::Session,
};

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Show only those that match (status=exited, name=web, label=a=b …)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show as json, "table TEMPLATE" or TEMPLATE
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the last so many, whatever their state
    #[arg(short = 'n', long, value_name = "NUMBER", allow_hyphen_values = true)]
    last: Option<i32>,
    /// Show the newest one, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Show only ids
    #[arg(short, long)]
    quiet: bool,
    /// Show the size of files
    #[arg(short, long)]
    size: bool,
}

const COLUMNS: &[Column] = &[
    fixed("ID", "CONTAINER ID"),
    flexible("Image", "IMAGE"),
    flexible("Command", "COMMAND"),
    fixed("CreatedAt", "CREATED AT"),
    flexible("RunningFor", "CREATED"),
    flexible("Status", "STATUS"),
    flexible("Ports", "PORTS"),
    fixed("Names", "NAMES"),
    fixed("Size", "SIZE"),
    fixed("State", "STATE"),
    flexible("Labels", "LABELS"),
    flexible("Mounts", "MOUNTS"),
    fixed("LocalVolumes", "LOCAL VOLUMES"),
    fixed("Networks", "NETWORKS"),
];

const SHOWN: &[&str] = &["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"];
const SHOWN_WITH_SIZE: &[&str] = &[
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
    "Size",
];

/// Lists containers.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let limit = if args.latest {
        Some(1)
    } else {
        args.last.filter(|&last| last > 0)
    };
    let options = ListContainersOptions {
        all: args.all || limit.is_some(),
        limit,
        size: args.size,
        filters: filters(&args.filter)?,
    };
    let containers = session.docker().list_containers(Some(options)).await?;
    if args.quiet && args.format.is_none() {
        for container in &containers {
            output::line(id(container, args.no_trunc))?;
        }
        return Ok(());
    }
    Listing {
        columns: COLUMNS,
        shown: if args.size { SHOWN_WITH_SIZE } else { SHOWN },
        rows: containers
            .iter()
            .map(|container| row(container, args.no_trunc))
            .collect(),
        cut: !args.no_trunc,
    }
    .print(args.format.as_deref())
}

fn row(container: &ContainerSummary, whole: bool) -> Map<String, Value> {
    let created = Timestamp::from_second(container.created.unwrap_or_default()).unwrap_or_default();
    let labels = container.labels.clone().unwrap_or_default();
    let mut label_list: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    label_list.sort();
    let networks = container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let mut networks: Vec<_> = networks.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    networks.sort_unstable();
    let mounts = container.mounts.as_deref().unwrap_or_default();
    let mount_names = mounts.iter().filter_map(|mount| {
        mount
            .name
            .as_deref()
            .filter(|name| !name.is_empty())
            .or(mount.source.as_deref())
    });
    let fields = json!({
        "ID": id(container, whole),
        "Image": container.image.as_deref().filter(|image| !image.is_empty()).unwrap_or("<no image>"),
        "Command": command(container, whole),
        "CreatedAt": Local(created).to_string(),
        "RunningFor": ago(created),
        "Status": container.status,
        "State": container.state.map(|state| state.to_string()),
        "Ports": ports(container.ports.as_deref().unwrap_or_default()),
        "Names": names(container),
        "Size": size(container),
        "Labels": label_list.join(","),
        "Label": labels,
        "Mounts": mount_names.collect::<Vec<_>>().join(","),
        "LocalVolumes": mounts.iter().filter(|mount| mount.driver.as_deref() == Some("local")).count().to_string(),
        "Networks": networks.join(","),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn id(container: &ContainerSummary, whole: bool) -> &str {
    let id = container.id.as_deref().unwrap_or_default();
    if whole { id } else { id.get(..12).unwrap_or(id) }
}

/// The quoted command, of which twenty characters are enough to know it again.
fn command(container: &ContainerSummary, whole: bool) -> String {
    let command = container.command.as_deref().unwrap_or_default();
    if whole || command.chars().count() <= 20 {
        return format!("{command:?}");
    }
    format!("{:?}", command.chars().take(19).chain(['…']).collect::<String>())
}

/// The container's own names: those that links give it hold a second slash.
fn names(container: &ContainerSummary) -> String {
    let names = container.names.as_deref().unwrap_or_default();
    let own = names
        .iter()
        .map(|name| name.trim_start_matches('/'))
        .filter(|name| !name.contains('/'));
    own.collect::<Vec<_>>().join(",")
}

fn size(container: &ContainerSummary) -> String {
    let written = decimal(container.size_rw.unwrap_or_default());
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{written} (virtual {})", decimal(all)),
        _ => written,
    }
}

fn ports(ports: &[PortSummary]) -> String {
    let mut shown: Vec<_> = ports.iter().map(port).collect();
    shown.sort();
    shown.dedup();
    shown.join(", ")
}

fn port(port: &PortSummary) -> String {
    let kind = port
        .typ
        .map(|kind| kind.to_string())
        .unwrap_or_else(|| "tcp".to_owned());
    let inside = format!("{}/{kind}", port.private_port);
    match (port.ip.as_deref(), port.public_port) {
        (Some(ip), Some(public)) if ip.contains(':') => format!("[{ip}]:{public}->{inside}"),
        (Some(ip), Some(public)) => format!("{ip}:{public}->{inside}"),
        _ => inside,
    }
}
