//! `/images/…`.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use davit_engine_images::{Credentials, Deleted, Import, ListFilters, Platform, Reference, RemoveOptions};
use futures::TryStreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    engine::App,
    error::ApiError,
    json_stream,
    request::{Filters, Params},
    router::empty,
    show,
};

/// How many lines of progress may wait for a slow client.
const WAITING_LINES: usize = 256;

/// `GET /images/json`.
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let filters = Filters::read(&params, &["dangling", "label", "before", "since", "reference"])?;
    let dangling = filters.values("dangling").first().map(|text| match text.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(ApiError::invalid(format!("invalid filter 'dangling={other}'"))),
    });
    let filters = ListFilters {
        dangling: dangling.transpose()?,
        labels: filters.values("label").to_vec(),
        references: filters.values("reference").to_vec(),
        before: filters.values("before").first().cloned(),
        since: filters.values("since").first().cloned(),
    };
    let images = app.images.list(&filters).await?;
    Ok(Json(images.iter().map(show::image::summary).collect()))
}

/// `POST /images/create`: a pull, or an import.
pub async fn create(
    State(app): State<App>,
    params: Params,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    let platform = params.text("platform").map(parse_platform).transpose()?;
    match (params.text("fromImage"), params.text("fromSrc")) {
        (Some(image), _) => pull(app, image, params.text("tag"), platform, &headers).await,
        (None, Some("-")) => import(app, &params, platform, request.into_body()).await,
        (None, Some(_)) => Err(ApiError::unsupported("importing from a URL")),
        (None, None) => Err(ApiError::invalid("invalid reference format")),
    }
}

async fn pull(
    app: App,
    image: &str,
    tag: Option<&str>,
    platform: Option<Platform>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let reference: Reference = image.parse()?;
    let reference = match tag {
        // Clients put a digest where the tag goes.
        Some(digest) if digest.contains(':') => {
            let digest = digest
                .parse()
                .map_err(|error: davit_vocabulary::InvalidDigest| ApiError::invalid(error.to_string()))?;
            reference.with_digest(digest)
        }
        Some(tag) => reference.with_tag(tag)?,
        None => reference.or_latest(),
    };
    let credentials = credentials(headers)?;
    let (sender, progress) = mpsc::channel(WAITING_LINES);
    let events = app.containers.events().clone();
    let work = json_stream::Work::new(tokio::spawn(async move {
        app.images
            .pull(&reference, platform.as_ref(), credentials, sender)
            .await?;
        let name = reference.familiar();
        events.publish(
            "image",
            "pull",
            &name,
            BTreeMap::from([("name".to_owned(), reference.familiar_name())]),
        );
        Ok(Vec::new())
    }));
    json_stream::answer(work, progress, false).await
}

async fn import(app: App, params: &Params, platform: Option<Platform>, body: Body) -> Result<Response, ApiError> {
    let reference = match params.text("repo") {
        Some(repo) => {
            let reference: Reference = repo.parse()?;
            Some(match params.text("tag") {
                Some(tag) => reference.with_tag(tag)?,
                None => reference.or_latest(),
            })
        }
        None => None,
    };
    let import = Import {
        reference,
        changes: params.all("changes").to_vec(),
        message: params.text("message").unwrap_or_default().to_owned(),
        platform,
    };
    // An import says nothing until it is done: then the id.
    let (sender, progress) = mpsc::channel(1);
    drop(sender);
    let events = app.containers.events().clone();
    let archive = body.into_data_stream().map_err(std::io::Error::other);
    let work = json_stream::Work::new(tokio::spawn(async move {
        let id = app.images.import(archive, import).await?;
        events.publish("image", "import", id.as_str(), BTreeMap::new());
        Ok(vec![json!({ "status": id.as_str() })])
    }));
    json_stream::answer(work, progress, false).await
}

/// `POST /images/load`.
pub async fn load(State(app): State<App>, params: Params, request: Request) -> Result<Response, ApiError> {
    if params.text("platform").is_some() {
        return Err(ApiError::unsupported("loading for one platform"));
    }
    let archive = request.into_body().into_data_stream().map_err(std::io::Error::other);
    let (sender, progress) = mpsc::channel(WAITING_LINES);
    let events = app.containers.events().clone();
    let work = json_stream::Work::new(tokio::spawn(async move {
        for id in app.images.load(archive, sender).await? {
            events.publish("image", "load", id.as_str(), BTreeMap::new());
        }
        Ok(Vec::new())
    }));
    json_stream::answer(work, progress, params.flag("quiet")).await
}

/// `GET /images/{name}/json` and `…/history`: a name may hold slashes.
pub async fn get_by_name(State(app): State<App>, Path(path): Path<String>) -> Result<Response, ApiError> {
    if let Some(name) = path.strip_suffix("/json") {
        let details = app.images.inspect(name).await?;
        return Ok(Json(show::image::details(&details)).into_response());
    }
    if let Some(name) = path.strip_suffix("/history") {
        let steps = app.images.history(name).await?;
        let shown: Value = steps.iter().map(show::image::history).collect();
        return Ok(Json(shown).into_response());
    }
    if path.ends_with("/get") {
        return Err(ApiError::unsupported("save"));
    }
    Err(ApiError::not_found("page not found"))
}

/// `POST /images/{name}/tag`.
pub async fn post_by_name(
    State(app): State<App>,
    Path(path): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    if path.ends_with("/push") {
        return Err(ApiError::unsupported("push"));
    }
    let Some(name) = path.strip_suffix("/tag") else {
        return Err(ApiError::not_found("page not found"));
    };
    let target: Reference = params.text("repo").unwrap_or_default().parse()?;
    let target = match params.text("tag") {
        Some(tag) => target.with_tag(tag)?,
        None => target.or_latest(),
    };
    app.images.tag(name, &target).await?;
    let attributes = BTreeMap::from([("name".to_owned(), target.familiar())]);
    app.containers.events().publish("image", "tag", name, attributes);
    Ok(empty(StatusCode::CREATED))
}

/// `DELETE /images/{name}`.
pub async fn remove(State(app): State<App>, Path(name): Path<String>, params: Params) -> Result<Json<Value>, ApiError> {
    if params.text("platforms").is_some() {
        return Err(ApiError::unsupported("removing single platforms"));
    }
    let options = RemoveOptions {
        force: params.flag("force"),
        no_prune: params.flag("noprune"),
    };
    let uses = app.containers.image_uses();
    let deleted = app.images.remove(&name, options, &uses).await?;
    for one in &deleted {
        let (action, id) = match one {
            Deleted::Untagged(name) => ("untag", name.clone()),
            Deleted::Deleted(digest) => ("delete", digest.to_string()),
        };
        app.containers.events().publish("image", action, &id, BTreeMap::new());
    }
    Ok(Json(deleted.iter().map(show::image::deleted).collect()))
}

fn parse_platform(text: &str) -> Result<Platform, ApiError> {
    let mut parts = text.split('/').map(str::to_owned);
    let platform = Platform {
        os: parts.next().unwrap_or_default(),
        architecture: parts.next().unwrap_or_else(|| crate::machine::go_architecture().into()),
        variant: parts.next().unwrap_or_default(),
    };
    let known = !platform.os.is_empty() && parts.next().is_none();
    if known {
        Ok(platform)
    } else {
        Err(ApiError::invalid(format!("{text:?} is an invalid OS component")))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RegistryAuth {
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// `X-Registry-Auth`: JSON in base64, of either alphabet, padded or not.
fn credentials(headers: &HeaderMap) -> Result<Option<Credentials>, ApiError> {
    let Some(value) = headers.get("X-Registry-Auth").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let invalid = |why: &str| ApiError::invalid(format!("invalid X-Registry-Auth header: {why}"));
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decode = |alphabet| GeneralPurpose::new(alphabet, lenient).decode(value.as_bytes());
    let bytes = decode(&alphabet::URL_SAFE)
        .or_else(|_| decode(&alphabet::STANDARD))
        .map_err(|error| invalid(&error.to_string()))?;
    let auth: RegistryAuth = serde_json::from_slice(&bytes).map_err(|error| invalid(&error.to_string()))?;
    if !auth.registrytoken.is_empty() {
        return Err(ApiError::unsupported("X-Registry-Auth registrytoken"));
    }
    let some = !auth.username.is_empty() || !auth.identitytoken.is_empty();
    Ok(some.then_some(Credentials {
        username: auth.username,
        password: auth.password,
        identity_token: auth.identitytoken,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_both_alphabets_with_and_without_padding() {
        let json = br#"{"username":"u?>","password":"p"}"#;
        for engine in [
            base64::engine::general_purpose::URL_SAFE,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
            base64::engine::general_purpose::STANDARD,
        ] {
            let headers =
                HeaderMap::from_iter([("x-registry-auth".parse().unwrap(), engine.encode(json).parse().unwrap())]);
            assert_eq!(credentials(&headers).unwrap().unwrap().username, "u?>");
        }
        assert!(credentials(&HeaderMap::new()).unwrap().is_none());
        let headers = HeaderMap::from_iter([("x-registry-auth".parse().unwrap(), "%%%".parse().unwrap())]);
        assert!(credentials(&headers).is_err());
    }
}
