//! `davit run`

use bollard::query_parameters::StartContainerOptions;

use super::create::create;
use crate::{
    client::{Client, Waiting},
    command_error::CommandError,
    flags::{CreateFlags, LeaveFlags},
    output,
    session::Session,
    streams::{Conversation, End},
    terminal::{self, Resizable, Signals},
};

/// Create a container and start it
#[derive(Debug, clap::Args)]
#[command(override_usage = "davit run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub struct Args {
    /// Leave it in the background and show its id
    #[arg(short, long)]
    detach: bool,
    #[command(flatten)]
    leave: LeaveFlags,
    #[command(flatten)]
    flags: CreateFlags,
}

/// Runs a container: its exit code is ours.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    if args.detach && !args.flags.streams.attach.is_empty() {
        return Err(CommandError::user(
            "conflicting options: cannot specify both --attach and --detach",
        ));
    }
    let result = match args.detach {
        true => in_background(session, &args).await,
        false => in_foreground(session, args).await,
    };
    result.map_err(CommandError::while_running)
}

async fn in_background(session: &Session, args: &Args) -> Result<(), CommandError> {
    let mut request = args.flags.request()?;
    request.body.attach_stdin = Some(false);
    request.body.attach_stdout = Some(false);
    request.body.attach_stderr = Some(false);
    request.body.stdin_once = Some(false);
    let id = create(session, &args.flags, &request.image, request.body).await?;
    // The id comes first: a container that does not start has to be found, too.
    output::line(&id)?;
    start(session, &id, None).await
}

async fn in_foreground(session: &Session, args: Args) -> Result<(), CommandError> {
    let request = args.flags.request()?;
    let (stdin, tty) = (request.body.attach_stdin == Some(true), args.flags.streams.tty);
    let (stdout, stderr) = (request.body.attach_stdout, request.body.attach_stderr);
    terminal::require(stdin, tty)?;
    let client = session.client();
    let id = create(session, &args.flags, &request.image, request.body).await?;

    // The order matters: nothing that the container says or does after its start may be missed.
    let mut query = vec![("stream", "1")];
    query.extend(stdin.then_some(("stdin", "1")));
    query.extend(stdout.unwrap_or_default().then_some(("stdout", "1")));
    query.extend(stderr.unwrap_or_default().then_some(("stderr", "1")));
    let attached = client
        .hijack(&format!("/containers/{id}/attach"), &query, None::<&()>, tty)
        .await?;
    let waiting = client
        .wait(&id, if args.flags.rm { "removed" } else { "next-exit" })
        .await?;
    let mut signals = args.leave.sig_proxy.then(|| Signals::take(&id));
    start(session, &id, signals.as_mut()).await?;

    let end = Conversation {
        client,
        stdin,
        tty,
        detach_keys: args.leave.detach_keys,
        target: Resizable::Container(id.clone()),
        signals: signals.as_mut(),
    }
    .hold(attached)
    .await?;
    if end == End::Detached {
        return Ok(());
    }
    ended(client, waiting, &id, signals).await
}

/// Starts a container that is to have these signals, or whose start they may end.
pub async fn start(session: &Session, container: &str, signals: Option<&mut Signals>) -> Result<(), CommandError> {
    let docker = session.docker();
    let starting = async { Ok(docker.start_container(container, None::<StartContainerOptions>).await?) };
    match signals {
        Some(signals) => signals.kept_while(starting).await,
        None => starting.await,
    }
}

/// The end of a container as the end of this program.
pub async fn ended(
    client: &Client,
    waiting: Waiting,
    container: &str,
    signals: Option<Signals>,
) -> Result<(), CommandError> {
    let ending = waiting.exit_code();
    let code = match signals {
        Some(mut signals) => signals.forwarded_while(client, ending).await,
        None => tokio::select! {
            code = ending => code,
            number = terminal::last_one() => Err(CommandError::signal(number)),
        },
    };
    match code {
        Err(error) if error.is_broken() => {
            let short = container.get(..12).unwrap_or(container);
            Err(error.hint(format!(
                "the container may well run on: `davit attach {short}` goes back to it, `davit wait {short}` tells its exit code"
            )))
        }
        Err(error) => Err(error),
        Ok(code) => exited(code),
    }
}

/// The end of a process as the end of this program.
pub fn exited(code: i64) -> Result<(), CommandError> {
    if code == 0 {
        Ok(())
    } else {
        Err(CommandError::exit(code))
    }
}
