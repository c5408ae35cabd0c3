//! `davit exec`

use std::path::PathBuf;

use bollard::models::ExecConfig;
use serde::Deserialize;
use serde_json::json;

use super::run::exited;
use crate::{
    client::{Client, container_name, encode},
    command_error::CommandError,
    flags::environment,
    session::Session,
    streams::{Conversation, End},
    terminal::{self, DetachKeys, Resizable},
};

/// Run a command in a running container
#[derive(Debug, clap::Args)]
#[command(override_usage = "davit exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct Args {
    /// Leave it in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave the command without stopping it
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Environment variables; a name alone takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Files of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give the command all privileges
    #[arg(long)]
    privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,
    /// User to run as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Container, command and arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER COMMAND [ARG]")]
    words: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    running: bool,
    exit_code: Option<i64>,
}

/// Runs a command in a container: its exit code is ours.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let stdin = args.interactive && !args.detach;
    terminal::require(stdin, args.tty)?;
    let (container, command) = args.words.split_first().expect("clap requires a container");
    let client = session.client();
    let config = config(&args, command)?;
    let path = format!("/containers/{}/exec", encode(container_name(container)?));
    let Created { id } = client.post_json(&path, &[], &config).await?;
    let start = format!("/exec/{}/start", encode(&id));
    if args.detach {
        return client
            .post(&start, &[], &json!({ "Detach": true, "Tty": args.tty }))
            .await;
    }
    let mut body = json!({ "Detach": false, "Tty": args.tty });
    if let Some(size) = config.console_size {
        body["ConsoleSize"] = json!(size);
    }
    let attached = client.hijack(&start, &[], Some(&body), args.tty).await?;
    let end = Conversation {
        client,
        stdin,
        tty: args.tty,
        detach_keys: args.detach_keys,
        target: Resizable::Exec(id.clone()),
        signals: None,
    }
    .hold(attached)
    .await?;
    if end == End::Detached {
        return Err(CommandError::user("read escape sequence"));
    }
    exited(exit_code(client, &id).await?)
}

fn config(args: &Args, command: &[String]) -> Result<ExecConfig, CommandError> {
    Ok(ExecConfig {
        attach_stdin: Some(args.interactive && !args.detach),
        attach_stdout: Some(!args.detach),
        attach_stderr: Some(!args.detach),
        console_size: terminal::size()
            .filter(|_| args.tty)
            .map(|size| vec![size.rows.into(), size.columns.into()]),
        tty: Some(args.tty),
        env: Some(environment(&args.env_file, &args.env)?),
        cmd: Some(command.to_vec()),
        privileged: Some(args.privileged),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        detach_keys: None,
    })
}

async fn exit_code(client: &Client, id: &str) -> Result<i64, CommandError> {
    let state: State = client.get_json(&format!("/exec/{}/json", encode(id)), &[]).await?;
    match state.exit_code {
        Some(code) if !state.running => Ok(code),
        _ => Err(CommandError::user("the connection ended, but the command still runs")),
    }
}
