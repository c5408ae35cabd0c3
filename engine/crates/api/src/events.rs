//! `GET /events`.

use std::convert::Infallible;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use davit_engine_containers::Event;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_stream::wrappers::BroadcastStream;

use crate::{
    containers::logs::time,
    engine::App,
    error::ApiError,
    request::{Filters, Params},
};

const FILTERS: [&str; 7] = ["type", "event", "container", "image", "label", "network", "scope"];

/// Live events, and the last 256 for who asks for the past.
pub async fn events(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    let filters = Filters::read(&params, &FILTERS)?;
    let (since, until) = (time(&params, "since")?, time(&params, "until")?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(ApiError::invalid("`since` time cannot be after `until` time"));
    }
    let (past, live) = app.containers.events().listen(since);
    let chosen = move |event: Event| {
        let line = passes(&event, &filters) && until.is_none_or(|until| event.at <= until);
        std::future::ready(line.then(|| Ok::<_, Infallible>(format!("{}\n", show(&event)))))
    };
    let over = async move {
        match until {
            Some(until) => {
                tokio::time::sleep(Timestamp::now().duration_until(until).try_into().unwrap_or_default()).await
            }
            None => std::future::pending().await,
        }
    };
    // A listener that falls far behind misses events, and goes on.
    let live = BroadcastStream::new(live).filter_map(|event| std::future::ready(event.ok()));
    let lines = stream::iter(past)
        .chain(live.take_until(Box::pin(over)))
        .filter_map(chosen);
    let mut response = Response::new(Body::from_stream(lines));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn passes(event: &Event, filters: &Filters) -> bool {
    let attribute = |key: &str| event.attributes.get(key).map_or("", String::as_str);
    let named =
        |kind: &str, wanted: &str| event.kind == kind && (event.id.starts_with(wanted) || attribute("name") == wanted);
    let verb = event.action.split(':').next().unwrap_or_default();
    filters.any("type", |wanted| event.kind == wanted)
        && filters.any("event", |wanted| event.action == wanted || verb == wanted)
        && filters.any("container", |wanted| named("container", wanted))
        && filters.any("network", |wanted| named("network", wanted))
        && filters.any("image", |wanted| named("image", wanted) || attribute("image") == wanted)
        && filters.any("scope", |wanted| wanted == "local")
        && filters.labels_match(&event.attributes)
}

fn show(event: &Event) -> Value {
    let mut shown = json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": event.at.as_second(),
        "timeNano": i64::try_from(event.at.as_nanosecond()).unwrap_or(i64::MAX),
    });
    // What clients of before 1.22 read; newer ones still get it for containers and images.
    if matches!(event.kind, "container" | "image") {
        shown["status"] = json!(event.action);
        shown["id"] = json!(event.id);
    }
    if let Some(image) = event.attributes.get("image").filter(|_| event.kind == "container") {
        shown["from"] = json!(image);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let attributes = [("name", "web"), ("image", "nginx"), ("tier", "front")];
        Event {
            kind: "container",
            action: "exec_start: sh -c true".into(),
            id: "0123".into(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn filters_choose_by_type_action_name_and_label() {
        let check = |text: &str| passes(&event(), &Filters::from_json(text));
        assert!(check(r#"{"type":["container"],"container":["web"]}"#));
        assert!(check(r#"{"event":["exec_start"]}"#));
        assert!(check(r#"{"label":["tier=front"],"image":["nginx"]}"#));
        assert!(!check(r#"{"container":["db"]}"#));
        assert!(!check(r#"{"label":["tier=back"]}"#));
        assert!(!check(r#"{"type":["image"]}"#));
    }
}
