//! `davit start`

use super::{
    attach::Subject,
    run::{ended, start},
};
use crate::{
    client::container_name,
    command_error::CommandError,
    flags::LeaveFlags,
    output,
    session::Session,
    streams::{Conversation, End},
    terminal::{self, Resizable, Signals},
};

/// Start containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the container's output and forward signals to it
    #[arg(short, long)]
    attach: bool,
    /// Send standard input to the container
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    leave: LeaveFlags,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Starts containers, or one whose streams become ours.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    if !args.attach && !args.interactive {
        return output::each(&args.containers, async |name| {
            start(session, container_name(name)?, None).await?;
            output::line(name)
        })
        .await;
    }
    match args.containers.as_slice() {
        [_] => attached(session, args).await,
        _ => Err(CommandError::user(
            "you cannot start and attach multiple containers at once",
        )),
    }
}

async fn attached(session: &Session, args: Args) -> Result<(), CommandError> {
    let client = session.client();
    let subject = Subject::inspect(client, container_name(&args.containers[0])?).await?;
    let stdin = args.interactive && subject.open_stdin;
    let attached = subject.attach(client, stdin).await?;
    let waiting = client
        .wait(&subject.id, if subject.auto_remove { "removed" } else { "next-exit" })
        .await?;
    let forwards = args.leave.sig_proxy && !(subject.tty && terminal::stdin_is_terminal() && stdin);
    let mut signals = forwards.then(|| Signals::take(&subject.id));
    start(session, &subject.id, signals.as_mut()).await?;
    let end = Conversation {
        client,
        stdin,
        tty: subject.tty,
        detach_keys: args.leave.detach_keys,
        target: Resizable::Container(subject.id.clone()),
        signals: signals.as_mut(),
    }
    .hold(attached)
    .await?;
    if end == End::Detached {
        return Ok(());
    }
    ended(client, waiting, &subject.id, signals).await
}
