//! Routes of the Docker API that are not built yet, refused by name; and those of swarm, which a single host answers alike.

use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    routing::{any, get},
};
use serde_json::{Value, json};

use crate::{error::ApiError, router::refuse};

const ABSENT: [(&str, &str); 26] = [
    ("/containers/{id}/changes", "the list of changed files (docker diff)"),
    ("/containers/{id}/export", "export"),
    ("/containers/{id}/stats", "stats"),
    ("/containers/{id}/update", "update"),
    ("/containers/{id}/pause", "pause"),
    ("/containers/{id}/unpause", "unpause"),
    ("/containers/{id}/attach/ws", "attach over a websocket"),
    ("/containers/{id}/archive", "copying files (docker cp)"),
    ("/containers/{id}/checkpoints", "checkpoints"),
    ("/images/get", "save"),
    ("/images/search", "search"),
    ("/images/prune", "pruning images"),
    ("/commit", "commit"),
    ("/build", "build"),
    ("/build/prune", "pruning the build cache"),
    ("/build/cancel", "build"),
    ("/session", "build sessions"),
    ("/grpc", "BuildKit"),
    ("/system/df", "the disk usage report (docker system df)"),
    ("/auth", "login"),
    ("/distribution/{*name}", "looking into a registry"),
    ("/networks/create", "making networks"),
    ("/networks/prune", "pruning networks"),
    ("/networks/{id}/connect", "connecting to networks"),
    ("/networks/{id}/disconnect", "disconnecting from networks"),
    ("/volumes/prune", "pruning volumes"),
];

const SWARM: [&str; 14] = [
    "/swarm",
    "/swarm/{*rest}",
    "/nodes",
    "/nodes/{*rest}",
    "/services",
    "/services/{*rest}",
    "/tasks",
    "/tasks/{*rest}",
    "/secrets",
    "/secrets/{*rest}",
    "/configs",
    "/configs/{*rest}",
    "/volumes/{name}/cluster",
    "/swarm/unlockkey/{*rest}",
];

/// Adds them.
pub(crate) fn routes(router: Router) -> Router {
    let router = ABSENT
        .iter()
        .fold(router, |router, (path, what)| router.route(path, refuse(what)));
    let router = SWARM
        .iter()
        .fold(router, |router, path| router.route(path, any(no_swarm)));
    router
        .route("/plugins", get(no_plugins))
        .route("/plugins/{*name}", any(plugin))
        .route("/volumes", get(no_volumes))
        .route("/volumes/create", refuse("making volumes"))
        .route("/volumes/{name}", any(volume))
}

async fn no_swarm() -> ApiError {
    ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
                  swarm and try again."
            .into(),
    }
}

async fn no_plugins() -> Json<Value> {
    Json(json!([]))
}

async fn plugin(Path(path): Path<String>) -> ApiError {
    let name = path.strip_suffix("/json").unwrap_or(&path);
    ApiError::not_found(format!("plugin \"{name}\" not found"))
}

async fn no_volumes() -> Json<Value> {
    Json(json!({ "Volumes": [], "Warnings": null }))
}

async fn volume(Path(name): Path<String>) -> ApiError {
    ApiError::not_found(format!("get {name}: no such volume"))
}
