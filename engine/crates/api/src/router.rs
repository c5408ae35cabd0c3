//! Which path leads where.

use std::convert::Infallible;

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use tower::ServiceExt as _;

use crate::{
    absent, containers,
    engine::App,
    error::ApiError,
    events, exec, images, networks,
    request::Client,
    system,
    version::{self, ApiVersion},
};

/// All routes, without their version prefix.
pub fn routes(app: App) -> Router {
    let router = Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(events::events))
        .route("/containers/json", get(containers::list::list))
        .route("/containers/create", post(containers::create::create))
        .route("/containers/prune", post(containers::life::prune))
        .route("/containers/{id}", axum::routing::delete(containers::life::remove))
        .route("/containers/{id}/json", get(containers::list::inspect))
        .route("/containers/{id}/start", post(containers::life::start))
        .route("/containers/{id}/stop", post(containers::life::stop))
        .route("/containers/{id}/restart", post(containers::life::restart))
        .route("/containers/{id}/kill", post(containers::life::kill))
        .route("/containers/{id}/rename", post(containers::life::rename))
        .route("/containers/{id}/wait", post(containers::wait::wait))
        .route("/containers/{id}/resize", post(containers::life::resize))
        .route("/containers/{id}/attach", post(containers::attach::attach))
        .route("/containers/{id}/logs", get(containers::logs::logs))
        .route("/containers/{id}/top", get(containers::top::top))
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/images/json", get(images::list))
        .route("/images/create", post(images::create))
        .route("/images/load", post(images::load))
        .route(
            "/images/{*name}",
            get(images::get_by_name)
                .post(images::post_by_name)
                .delete(images::remove),
        )
        .route("/networks", get(networks::list))
        .route("/networks/{id}", get(networks::inspect))
        .with_state(app);
    absent::routes(router)
        .fallback(page_not_found)
        .method_not_allowed_fallback(page_not_found)
}

async fn page_not_found() -> ApiError {
    ApiError::not_found("page not found")
}

/// Answers a request: takes the version off its path, finds its handler, and stamps the answer.
pub async fn answer(router: Router, mut request: Request) -> Result<Response, Infallible> {
    let (given, rest) = version::split_prefix(request.uri().path());
    let checked = given.unwrap_or(ApiVersion::NEWEST).check();
    let mut response = match checked {
        Err(error) => error.into_response(),
        Ok(client) => {
            if given.is_some()
                && let Some(uri) = with_path(request.uri(), rest)
            {
                *request.uri_mut() = uri;
            }
            request.extensions_mut().insert(Client(client));
            if *request.method() == Method::OPTIONS {
                StatusCode::OK.into_response()
            } else {
                run_to_its_end(router, request).await?
            }
        }
    };
    version::stamp(response.headers_mut());
    Ok(response)
}

/// What a client asked for is done though the client goes away meanwhile: half a start or half a removal helps nobody. An answer
/// that goes on as a stream ends with its connection all the same.
async fn run_to_its_end(router: Router, request: Request) -> Result<Response, Infallible> {
    match tokio::spawn(router.oneshot(request)).await {
        Ok(result) => result,
        Err(_) => {
            let error = ApiError::new(davit_vocabulary::ErrorKind::Internal, "the call was not completed");
            Ok(error.into_response())
        }
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

/// Refuses by name; for routes that Docker has and this engine has not.
pub(crate) fn refuse(what: &'static str) -> axum::routing::MethodRouter {
    any(move || async move { ApiError::unsupported(what) })
}

/// An answer that has no body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
