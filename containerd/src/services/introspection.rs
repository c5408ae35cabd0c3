//! `containerd.services.introspection.v1.Introspection`.

use std::{borrow::Cow, fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use davit_containerd_api::any;
use davit_containerd_api::{
    services::introspection::v1::{
        Plugin, PluginInfoRequest, PluginInfoResponse, PluginsRequest, PluginsResponse, ServerResponse,
        introspection_server::{Introspection, IntrospectionServer},
    },
    types::{RuntimeInfo, RuntimeRequest},
};
use davit_metadata::filter::{Fields, Filters, non_empty};
use davit_tasks::Tasks;
use davit_vocabulary::ErrorKind;
use prost::Message;
use tonic::{Request, Response, Status};

use super::{blocking, limited, status};
use crate::daemon::Daemon;

mod plugins;

/// The plugin whose information is a runtime's.
const TASK_PLUGIN: (&str, &str) = ("io.containerd.runtime.v2", "task");

/// What the task plugin exports while the daemon still looks for shims of an earlier run: how many.
const RETURNING: &str = "returning";

struct Service {
    uuid: String,
    plugins: Vec<Plugin>,
    tasks: Arc<Tasks>,
}

impl Service {
    /// The plugins as they are now.
    fn plugins(&self) -> Vec<Plugin> {
        let mut plugins = self.plugins.clone();
        let returning = self.tasks.returning();
        let is_task = |plugin: &&mut Plugin| (plugin.r#type.as_str(), plugin.id.as_str()) == TASK_PLUGIN;
        if let Some(plugin) = plugins.iter_mut().find(is_task).filter(|_| returning > 0) {
            plugin.exports.insert(RETURNING.into(), returning.to_string());
        }
        plugins
    }
}

/// The service; it needs no namespace.
///
/// # Errors
/// The identity of this server cannot be read or stored.
pub fn service(daemon: &Daemon) -> io::Result<IntrospectionServer<impl Introspection>> {
    let mut plugins = plugins::all(&daemon.config.root);
    plugins.retain(|plugin| plugin.id != "restart" || daemon.config.restart_interval.is_some());
    Ok(limited!(IntrospectionServer::new(Service {
        uuid: uuid(&daemon.config.root.join("uuid"))?,
        plugins,
        tasks: daemon.tasks.clone(),
    })))
}

/// The names of all plugins as configuration files have them.
pub fn uris() -> Vec<String> {
    let plugins = plugins::all(Path::new(""));
    plugins
        .iter()
        .map(|plugin| format!("{}.{}", plugin.r#type, plugin.id))
        .collect()
}

/// The identity of this server: made once, kept for ever.
fn uuid(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if uuid::Uuid::parse_str(text.trim()).is_ok() => return Ok(text.trim().into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made = uuid::Uuid::new_v4().to_string();
    fs::write(path, &made)?;
    Ok(made)
}

/// A plugin as filters see it.
struct Filtered<'a>(&'a Plugin);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "type" => non_empty(&self.0.r#type),
            "id" => non_empty(&self.0.id),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl Introspection for Service {
    async fn plugins(&self, request: Request<PluginsRequest>) -> Result<Response<PluginsResponse>, Status> {
        let filters = Filters::parse(&request.into_inner().filters)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut plugins = self.plugins();
        plugins.retain(|plugin| filters.matches(&Filtered(plugin)));
        Ok(Response::new(PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let pid_namespace = blocking(|| fs::metadata("/proc/self/ns/pid")).await?;
        Ok(Response::new(ServerResponse {
            uuid: self.uuid.clone(),
            pid: std::process::id().into(),
            pidns: pid_namespace.ino(),
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(&self, request: Request<PluginInfoRequest>) -> Result<Response<PluginInfoResponse>, Status> {
        let request = request.into_inner();
        let name = (request.r#type.as_str(), request.id.as_str());
        let asked = request.options.as_ref().map(runtime_request).transpose()?;
        let mut plugins = self.plugins().into_iter();
        let plugin = plugins
            .find(|plugin| (plugin.r#type.as_str(), plugin.id.as_str()) == name)
            .ok_or_else(|| Status::not_found(format!("plugin {}.{} not found: not found", name.0, name.1)))?;
        let extra = match asked {
            None => None,
            Some(asked) if name == TASK_PLUGIN => Some(any::pack(&runtime_info(asked).await?)),
            Some(_) => {
                return Err(Status::unimplemented(
                    "plugin does not provided extra information: not implemented",
                ));
            }
        };
        Ok(Response::new(PluginInfoResponse {
            plugin: Some(plugin),
            extra,
        }))
    }
}

/// The one request for further information that there is.
fn runtime_request(options: &prost_types::Any) -> Result<RuntimeRequest, Status> {
    let refused = |reason: &str| Status::unknown(format!("failed to unmarshal plugin info Options: {reason}"));
    any::unpack::<RuntimeRequest>(options)
        .ok_or_else(|| refused(&format!("type with url {}: not found", options.type_url)))?
        .map_err(|_| refused("proto: cannot parse invalid wire-format data"))
}

async fn runtime_info(request: RuntimeRequest) -> Result<RuntimeInfo, Status> {
    let options = request.options.map(|options| options.encode_to_vec());
    let bytes = davit_tasks::runtime_info(&request.runtime_path, options.as_deref())
        .await
        .map_err(|error| status(error.kind(), error))?;
    RuntimeInfo::decode(bytes.as_slice()).map_err(|error| {
        status(
            ErrorKind::Unknown,
            format!("failed to unmarshal stdout of {} -info: {error}", request.runtime_path),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_server_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uuid");
        let made = uuid(&path).unwrap();
        assert_eq!(uuid(&path).unwrap(), made);
        fs::write(&path, "torn").unwrap();
        assert_ne!(uuid(&path).unwrap(), "torn");
    }
}
