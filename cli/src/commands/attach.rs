//! `davit attach`

use serde::Deserialize;

use super::run::ended;
use crate::{
    client::{Client, Hijacked, container_name, encode},
    command_error::CommandError,
    flags::LeaveFlags,
    session::Session,
    streams::{Conversation, End},
    terminal::{self, Resizable, Signals},
};

/// Connect to the streams of a running container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not send standard input
    #[arg(long)]
    no_stdin: bool,
    #[command(flatten)]
    leave: LeaveFlags,
    /// Container
    container: String,
}

/// What has to be known of a container before one attaches to it.
#[derive(Debug)]
pub struct Subject {
    /// Its whole id.
    pub id: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input is open.
    pub open_stdin: bool,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    running: bool,
    paused: bool,
    restarting: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
    state: State,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    tty: bool,
    open_stdin: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    auto_remove: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    restarting: bool,
}

impl Subject {
    /// Asks about a container.
    pub async fn inspect(client: &Client, name: &str) -> Result<Self, CommandError> {
        let answer: Inspected = client
            .get_json(&format!("/containers/{}/json", encode(name)), &[])
            .await?;
        Ok(Self {
            id: answer.id,
            tty: answer.config.tty,
            open_stdin: answer.config.open_stdin,
            auto_remove: answer.host_config.auto_remove,
            running: answer.state.running,
            paused: answer.state.paused,
            restarting: answer.state.restarting,
        })
    }

    /// Connects to its streams.
    pub async fn attach(&self, client: &Client, stdin: bool) -> Result<Hijacked, CommandError> {
        let mut query = vec![("stream", "1"), ("stdout", "1"), ("stderr", "1")];
        query.extend(stdin.then_some(("stdin", "1")));
        client
            .hijack(
                &format!("/containers/{}/attach", self.id),
                &query,
                None::<&()>,
                self.tty,
            )
            .await
    }

    fn require_running(&self) -> Result<(), CommandError> {
        if self.paused {
            return Err(CommandError::user(
                "cannot attach to a paused container, unpause it first",
            ));
        }
        if self.restarting {
            return Err(CommandError::user(
                "cannot attach to a restarting container, wait until it is running",
            ));
        }
        if !self.running {
            return Err(
                CommandError::user("cannot attach to a stopped container, start it first")
                    .hint("`davit start -a` starts and attaches"),
            );
        }
        Ok(())
    }
}

/// Attaches to a container: when it ends, its exit code is ours.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let client = session.client();
    let subject = Subject::inspect(client, container_name(&args.container)?).await?;
    subject.require_running()?;
    let stdin = subject.open_stdin && !args.no_stdin;
    terminal::require(stdin, subject.tty)?;
    let waiting = client.wait(&subject.id, "not-running").await?;
    let attached = subject.attach(client, stdin).await?;
    let target = Resizable::Container(subject.id.clone());
    if subject.tty {
        redraw(client, &target).await;
    }
    let forwards = args.leave.sig_proxy && !subject.tty;
    let mut signals = forwards.then(|| Signals::take(&subject.id));
    let end = Conversation {
        client,
        stdin,
        tty: subject.tty,
        detach_keys: args.leave.detach_keys,
        target,
        signals: signals.as_mut(),
    }
    .hold(attached)
    .await?;
    if end == End::Detached {
        return Err(CommandError::user("read escape sequence"));
    }
    ended(client, waiting, &subject.id, signals).await
}

/// A program draws its screen when the size changes, so it changes once before it gets the right one.
async fn redraw(client: &Client, target: &Resizable) {
    if let Some(size) = terminal::size() {
        let other = terminal::Size {
            rows: size.rows.saturating_add(1),
            columns: size.columns.saturating_add(1),
        };
        target.resize(client, other).await;
    }
}
