use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::{
    convert,
    engine::App,
    error::ApiError,
    request::{Body, Params},
    wire::create::Create,
};

/// `POST /containers/create`.
pub async fn create(
    State(app): State<App>,
    params: Params,
    Body(body): Body<Value>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if body.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(ApiError::invalid(
            "config cannot be empty in order to create a container",
        ));
    }
    check_platform(&params)?;
    let body: Create =
        serde_json::from_value(body).map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))?;
    let name = params.text("name").map(str::to_owned);
    let request = convert::create_request(name, body, app.containers.machine())?;
    let created = app.containers.create(request).await?;
    let answer = json!({ "Id": created.id.as_str(), "Warnings": created.warnings });
    Ok((StatusCode::CREATED, Json(answer)))
}

fn check_platform(params: &Params) -> Result<(), ApiError> {
    let own = format!("linux/{}", crate::machine::go_architecture());
    match params.text("platform") {
        Some(platform) if platform != own && platform != "linux" => Err(ApiError::unsupported(format!(
            "platform {platform} on a machine of {own}"
        ))),
        _ => Ok(()),
    }
}
