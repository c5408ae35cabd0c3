//! `davit logs`

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::Method;
use jiff::Timestamp;

use super::attach::Subject;
use crate::{
    client::container_name,
    command_error::CommandError,
    flags::since,
    session::Session,
    streams::{Frames, Sink},
};

/// Show what a container wrote
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what it writes
    #[arg(short, long)]
    follow: bool,
    /// Begin with what was written since this time, or so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End with what was written until this time, or so long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show only the last lines
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER|all",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Container
    container: String,
}

/// Shows a container's log, its two streams on our two.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let client = session.client();
    let subject = Subject::inspect(client, container_name(&args.container)?).await?;
    let now = Timestamp::now();
    let from = args.since.as_deref().map(|text| since(text, now)).transpose()?;
    let until = args.until.as_deref().map(|text| since(text, now)).transpose()?;
    let mut query = vec![("stdout", "1"), ("stderr", "1"), ("tail", args.tail.as_str())];
    query.extend(args.follow.then_some(("follow", "1")));
    query.extend(args.timestamps.then_some(("timestamps", "1")));
    query.extend(from.as_deref().map(|time| ("since", time)));
    query.extend(until.as_deref().map(|time| ("until", time)));
    let response = client
        .request(Method::GET, &format!("/containers/{}/logs", subject.id), &query)
        .await?;

    let sink = Sink::spawn();
    let mut body = response.into_body();
    let mut frames = Frames::new(subject.tty);
    let mut buffer = BytesMut::new();
    let mut read = true;
    while let Some(frame) = body.frame().await.filter(|_| read) {
        if let Ok(data) = frame?.into_data() {
            buffer.extend_from_slice(&data);
        }
        while let Some((channel, piece)) = frames.take(&mut buffer)? {
            read &= sink.write(channel, piece).await;
        }
    }
    Ok(sink.finish().await?)
}
