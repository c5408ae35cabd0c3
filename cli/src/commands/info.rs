//! `davit info`

use serde_json::Value;

use crate::{
    command_error::CommandError,
    format::{Binary, print_one},
    output,
    session::Session,
};

/// Show what the engine is and has
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show as json or TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Lines of the report: a title and the field behind it.
const LINES: &[(&str, &str)] = &[
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Runtimes", "Runtimes"),
    ("Default Runtime", "DefaultRuntime"),
    ("Init Binary", "InitBinary"),
    ("Security Options", "SecurityOptions"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
    ("Debug Mode", "Debug"),
    ("Experimental", "ExperimentalBuild"),
    ("Live Restore Enabled", "LiveRestoreEnabled"),
];

/// Shows the engine. The answer is taken as it comes: engines differ in what they tell.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let info: Value = session.client().get_json("/info", &[]).await?;
    if let Some(format) = &args.format {
        return print_one(&info, format);
    }
    output::line("Client:")?;
    output::line(format_args!(" Version: {}", env!("CARGO_PKG_VERSION")))?;
    output::line(format_args!(" Host: {}\n\nServer:", session.client().host()))?;
    for (title, field) in LINES {
        if let Some(value) = shown(field, &info[field]) {
            output::line(format_args!(" {title}: {value}"))?;
        }
        if *field == "Driver" {
            print_driver_status(&info["DriverStatus"])?;
        }
    }
    for warning in info["Warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        output::note(warning);
    }
    Ok(())
}

fn print_driver_status(status: &Value) -> Result<(), CommandError> {
    for pair in status.as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
            output::line(format_args!("  {name}: {value}"))?;
        }
    }
    Ok(())
}

fn shown(field: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Number(bytes) if field == "MemTotal" => Some(Binary(bytes.as_i64()?).to_string()),
        Value::String(text) => (!text.is_empty()).then(|| text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => Some(map.keys().map(String::as_str).collect::<Vec<_>>().join(" ")),
        other => Some(other.to_string()),
    }
}
