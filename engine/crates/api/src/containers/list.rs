use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, State},
};
use davit_engine_containers::{Container, Record};
use davit_vocabulary::Digest;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    engine::App,
    error::ApiError,
    request::{Filters, Params},
    show,
};

const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume",
];

/// `GET /containers/json`.
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let filters = Filters::read(&params, &FILTERS)?;
    let limit = params.number::<i64>("limit")?.unwrap_or(0);
    let all = params.flag("all") || limit > 0 || asks_for_stopped(&filters);
    let chosen = choose(&app, &filters, all).await?;
    let limit = usize::try_from(limit)
        .ok()
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let now = Timestamp::now();
    let (mut lines, mut names) = (Vec::new(), ImageNames::default());
    for record in chosen.into_iter().take(limit) {
        let mut line = show::summary::summary(&record, &names.of(&app, &record).await, now);
        if params.flag("size") {
            line["SizeRw"] = json!(app.containers.written_bytes(&record.id).await.unwrap_or(0));
            line["SizeRootFs"] = json!(image_size(&app, &record).await);
        }
        lines.push(line);
    }
    Ok(Json(Value::Array(lines)))
}

/// These filters speak of containers that do not run, too.
fn asks_for_stopped(filters: &Filters) -> bool {
    ["status", "exited", "before", "since"]
        .iter()
        .any(|key| !filters.values(key).is_empty())
}

/// How long a list waits for the manager to say what names mean now.
const NAMES_TIME: Duration = Duration::from_millis(500);

/// What image names mean now, each asked once. A list must come though the manager is away: then nothing is asked.
#[derive(Default)]
struct ImageNames {
    ids: HashMap<String, Option<Digest>>,
    unanswered: bool,
}

impl ImageNames {
    /// The name that the container was made from; its image's short id when the name has moved on.
    async fn of(&mut self, app: &App, record: &Record) -> String {
        let name = &record.config.image;
        if !self.unanswered && !self.ids.contains_key(name) {
            match tokio::time::timeout(NAMES_TIME, app.images.resolve(name)).await {
                Ok(resolved) => drop(self.ids.insert(name.clone(), resolved.ok().map(|image| image.id))),
                Err(_) => self.unanswered = true,
            }
        }
        match self.ids.get(name) {
            Some(id) if id.as_ref() != Some(&record.image) => {
                record.image.hex().get(..12).unwrap_or_default().to_owned()
            }
            _ => name.clone(),
        }
    }
}

async fn image_size(app: &App, record: &Record) -> i64 {
    let details = app.images.inspect(record.image.as_str()).await;
    details.map_or(0, |details| details.summary.size)
}

async fn choose(app: &App, filters: &Filters, all: bool) -> Result<Vec<Arc<Record>>, ApiError> {
    refuse_unknown(filters)?;
    let ancestors = ancestors(app, filters).await;
    let time_of = |key: &str| -> Result<Option<Timestamp>, ApiError> {
        let named = filters.values(key).first();
        Ok(named
            .map(|name| app.containers.find(name))
            .transpose()?
            .map(|container| container.record().created))
    };
    let (before, since) = (time_of("before")?, time_of("since")?);
    let passes = |record: &Arc<Record>| {
        let status = record.state.status.name();
        let named = |wanted: &str| name_matches(&record.name, wanted);
        (all || record.state.is_running() || status == "restarting")
            && filters.any("id", |wanted| record.id.starts_with(wanted))
            && filters.any("name", named)
            && filters.any("status", |wanted| status == wanted)
            && filters.any("exited", |wanted| {
                wanted.parse() == Ok(record.state.exit_code) && status == "exited"
            })
            && filters.any("network", |wanted| network_matches(record, wanted))
            && filters.any("volume", |wanted| {
                record
                    .host
                    .binds
                    .iter()
                    .any(|bind| bind.target == wanted || bind.source == wanted)
            })
            && filters.any("publish", |_| false)
            && filters.any("expose", |wanted| {
                record
                    .config
                    .exposed_ports
                    .iter()
                    .any(|port| port.split('/').next() == Some(wanted) || port == wanted)
            })
            && filters.any("health", |wanted| wanted == "none")
            && filters.any("is-task", |wanted| wanted == "false")
            && filters.labels_match(&record.config.labels)
            && ancestors.as_ref().is_none_or(|ids| ids.contains(record.image.as_str()))
            && before.is_none_or(|before| record.created < before)
            && since.is_none_or(|since| record.created > since)
    };
    Ok(app.containers.list().into_iter().filter(passes).collect())
}

fn refuse_unknown(filters: &Filters) -> Result<(), ApiError> {
    const STATUS: [&str; 7] = [
        "created",
        "restarting",
        "running",
        "removing",
        "paused",
        "exited",
        "dead",
    ];
    if let Some(unknown) = filters
        .values("status")
        .iter()
        .find(|status| !STATUS.contains(&status.as_str()))
    {
        return Err(ApiError::invalid(format!("invalid filter 'status={unknown}'")));
    }
    if let Some(unknown) = filters
        .values("exited")
        .iter()
        .find(|code| code.parse::<i32>().is_err())
    {
        return Err(ApiError::invalid(format!("invalid filter 'exited={unknown}'")));
    }
    Ok(())
}

/// Ids of the images named by `ancestor`; unknown ones match nothing.
async fn ancestors(app: &App, filters: &Filters) -> Option<HashSet<String>> {
    let wanted = filters.values("ancestor");
    if wanted.is_empty() {
        return None;
    }
    let mut ids = HashSet::new();
    for name in wanted {
        if let Ok(image) = app.images.resolve(name).await {
            ids.insert(image.id.to_string());
        }
    }
    Some(ids)
}

/// Docker takes a regular expression; anchors are the part of it that people use.
fn name_matches(name: &str, wanted: &str) -> bool {
    let (start, wanted) = match wanted.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let (end, wanted) = match wanted.strip_suffix('$') {
        Some(rest) => (true, rest),
        None => (false, wanted),
    };
    let wanted = wanted.strip_prefix('/').unwrap_or(wanted);
    match (start, end) {
        (true, true) => name == wanted,
        (true, false) => name.starts_with(wanted),
        (false, true) => name.ends_with(wanted),
        (false, false) => name.contains(wanted),
    }
}

fn network_matches(record: &Record, wanted: &str) -> bool {
    let mode = record.host.network;
    mode.to_string() == wanted || (wanted.len() >= 12 && crate::networks::id(mode).starts_with(wanted))
}

/// `GET /containers/{id}/json`.
pub async fn inspect(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Json<Value>, ApiError> {
    let container: Arc<Container> = app.containers.find(&id)?;
    let record = container.record();
    let execs = app.containers.running_execs(&record.id);
    let mut shown = show::container::inspect(&record, app.containers.paths(), &execs, &app.identity.snapshotter);
    if params.flag("size") {
        shown["SizeRw"] = json!(app.containers.written_bytes(&record.id).await?);
        shown["SizeRootFs"] = json!(image_size(&app, &record).await);
    }
    Ok(Json(shown))
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn names_match_in_part_or_between_anchors() {
        for (wanted, matches) in [
            ("eb", true),
            ("^web$", true),
            ("^/web$", true),
            ("^eb", false),
            ("b$", true),
            ("x", false),
        ] {
            assert_eq!(name_matches("web", wanted), matches, "{wanted}");
        }
    }
}
