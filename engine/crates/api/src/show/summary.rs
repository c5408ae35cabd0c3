use davit_engine_containers::{Record, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{container::mounts, network, time::since};

/// A line of `GET /containers/json`.
pub fn summary(record: &Record, image_name: &str, now: Timestamp) -> Value {
    json!({
        "Id": record.id.as_str(),
        "Names": [format!("/{}", record.name)],
        "Image": image_name,
        "ImageID": record.image.as_str(),
        "Command": command(&record.config.command_line()),
        "Created": record.created.as_second(),
        "Ports": [],
        "Labels": record.config.labels,
        "State": record.state.status.name(),
        "Status": status(record, now),
        "HostConfig": { "NetworkMode": record.host.network.to_string() },
        "NetworkSettings": { "Networks": network::networks(record) },
        "Mounts": mounts(&record.host),
    })
}

/// The command line; an argument with spaces in it is quoted.
fn command(words: &[String]) -> String {
    let quoted = words.iter().enumerate().map(|(place, word)| {
        let quote = place > 0 && word.contains(' ');
        if quote { format!("'{word}'") } else { word.clone() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// `Up 5 minutes`, `Exited (0) 2 hours ago`, ….
pub fn status(record: &Record, now: Timestamp) -> String {
    let state = &record.state;
    let ago = |time: Option<Timestamp>| time.map_or(String::new(), |time| since(time, now));
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", ago(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished_at)),
        Status::Removing => "Removal In Progress".into(),
    }
}
