//! `davit version`

use bollard::models::SystemVersion;
use serde_json::{Value, json};

use crate::{command_error::CommandError, format::print_one, output, session::Session};

/// Show the versions of this program and of the engine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show as json or TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Shows versions. What is known here is shown even when no engine answers.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let client = client(session);
    let server = session.docker().version().await.map_err(CommandError::from);
    if let Some(format) = &args.format {
        let engine = server.as_ref().ok().map(serde_json::to_value).transpose()?;
        print_one(&json!({ "Client": client, "Server": engine }), format)?;
        return server.map(|_| ());
    }
    output::line("Client:")?;
    for (name, field) in [("Version", "Version"), ("API version", "ApiVersion"), ("OS/Arch", "Os")] {
        let value = client[field].as_str().unwrap_or_default();
        let value = if field == "Os" {
            format!("{value}/{}", arch())
        } else {
            value.to_owned()
        };
        output::line(format_args!(" {:18} {value}", format!("{name}:")))?;
    }
    print_server(&server?)
}

fn client(session: &Session) -> Value {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": session.client().version(),
        "Os": std::env::consts::OS,
        "Arch": arch(),
    })
}

fn print_server(server: &SystemVersion) -> Result<(), CommandError> {
    let platform = server
        .platform
        .as_ref()
        .map(|platform| platform.name.as_str())
        .filter(|name| !name.is_empty());
    output::line("")?;
    output::line(platform.map_or("Server:".to_owned(), |name| format!("Server: {name}")))?;
    for component in server.components.iter().flatten() {
        output::line(format_args!(" {}:", component.name))?;
        output::line(format_args!("  {:17} {}", "Version:", component.version))?;
        let mut details: Vec<_> = component
            .details
            .iter()
            .flatten()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        details.sort();
        let detail = |name: &str| {
            details
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.as_str())
        };
        if let Some(version) = detail("ApiVersion") {
            let least = detail("MinAPIVersion").unwrap_or(version);
            output::line(format_args!(
                "  {:17} {version} (minimum version {least})",
                "API version:"
            ))?;
        }
        if let (Some(os), Some(arch)) = (detail("Os"), detail("Arch")) {
            output::line(format_args!("  {:17} {os}/{arch}", "OS/Arch:"))?;
        }
        for (name, value) in &details {
            if !matches!(name.as_str(), "ApiVersion" | "MinAPIVersion" | "Os" | "Arch") {
                output::line(format_args!("  {:17} {value}", format!("{name}:")))?;
            }
        }
    }
    Ok(())
}

/// The machine in the words of container images.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
