//! `davit events`

use bollard::{models::EventMessage, query_parameters::EventsOptions};
use futures::StreamExt;
use jiff::Timestamp;

use crate::{
    command_error::CommandError,
    flags::{filters, since},
    format::rfc3339,
    output,
    session::Session,
    template::{Template, unescape},
};

/// Show what happens in the engine, as it happens
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only those that match (container=…, event=start, type=container …)
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show as json or TEMPLATE
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Begin with what happened since this time, or so long ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Shows events until they end.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let template = match args.format.as_deref() {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(format) => Some(Template::parse(&unescape(format))?),
    };
    let now = Timestamp::now();
    let options = EventsOptions {
        since: args.since.map(|text| since(&text, now)).transpose()?,
        until: args.until.map(|text| since(&text, now)).transpose()?,
        filters: filters(&args.filter)?,
    };
    let mut events = session.docker().events(Some(options));
    while let Some(event) = events.next().await {
        let event = event?;
        match &template {
            Some(template) => output::line(template.render(&serde_json::to_value(&event)?)?)?,
            None => output::line(shown(&event)?)?,
        }
    }
    Ok(())
}

/// `time type action id (name=value, …)`
fn shown(event: &EventMessage) -> Result<String, CommandError> {
    let nanoseconds = event.time_nano.unwrap_or_default();
    let time = Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default();
    let kind = serde_json::to_value(event.typ)?;
    let actor = event.actor.clone().unwrap_or_default();
    let mut attributes: Vec<_> = actor
        .attributes
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    attributes.sort();
    let mut line = rfc3339(time);
    let words = [kind.as_str().map(str::to_owned), event.action.clone(), actor.id];
    for word in words.into_iter().flatten().filter(|word: &String| !word.is_empty()) {
        line = format!("{line} {word}");
    }
    if !attributes.is_empty() {
        line = format!("{line} ({})", attributes.join(", "));
    }
    Ok(line)
}
