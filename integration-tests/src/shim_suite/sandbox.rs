//! A sandbox of the shim, and the calls of the sandbox service on it.

use std::{fs, time::Duration};

use davit_shim_api::sandbox::{sandbox::*, sandbox_ttrpc::SandboxClient};
use protobuf::Message;
use serde_json::{Value, json};
use ttrpc::{Code, asynchronous::Client, context};

use crate::{
    task::Answer,
    world::{NAMESPACE, World, address_in},
};

/// The folder by which containerd's bundles of sandboxes are known.
const FOLDER: &str = "io.containerd.sandbox.controller.v1.shim";

/// A sandbox that may not be made yet.
pub struct Sandbox {
    client: SandboxClient,
    /// The address of its shim.
    pub address: String,
    id: String,
    bundle: String,
}

fn soon() -> context::Context {
    context::with_duration(Duration::from_secs(60))
}

/// Makes a request of the fields of a sandbox's calls.
macro_rules! request {
    ($kind:ident, $sandbox:expr, $($field:ident: $value:expr),* $(,)?) => {
        $kind { sandbox_id: $sandbox.id.clone(), $($field: $value,)* ..Default::default() }
    };
}

impl World {
    /// The shim of a sandbox, with a process of its own that runs `script` where there is one. Where the shim does not know
    /// sandboxes, the case is skipped.
    pub async fn sandbox(&self, id: &str, script: Option<&str>) -> Option<Sandbox> {
        let bundle = self.scratch.join(FOLDER).join(NAMESPACE).join(id);
        fs::create_dir_all(&bundle).expect("a folder");
        self.keep_log(&bundle);
        fs::write(bundle.join("config.json"), self.specification(id, script).to_string()).expect("a file");
        let options = self.options().write_to_bytes().expect("a message");
        let reply = self.action_in(&bundle, id, &["start"], &options);
        assert!(reply.status.success(), "{reply:?}");
        let address = address_in(&reply.stdout);
        let sandbox = Sandbox {
            client: SandboxClient::new(Client::connect(&address).await.expect("a shim that serves")),
            address,
            id: id.into(),
            bundle: bundle.display().to_string(),
        };
        let unknown = matches!(
            sandbox.ping().await,
            Err(ttrpc::Error::RpcStatus(status)) if status.code() == Code::UNIMPLEMENTED
        );
        if !unknown {
            return Some(sandbox);
        }
        self.skip("the shim does not offer the sandbox service");
        self.task_at(&sandbox.address, id)
            .await
            .shutdown()
            .await
            .expect("shutdown");
        None
    }

    fn specification(&self, id: &str, script: Option<&str>) -> Value {
        match script {
            None => json!({ "ociVersion": "1.0.2" }),
            Some(script) => {
                self.bundle("pattern", script);
                let text = fs::read(self.scratch.join("pattern/config.json")).expect("a file");
                let mut config: Value = serde_json::from_slice(&text).expect("JSON");
                config["linux"]["cgroupsPath"] = format!("/{}", self.cgroup(id)).into();
                config
            }
        }
    }
}

impl Sandbox {
    /// The same on a connection of its own.
    pub async fn beside(&self) -> Self {
        Self {
            client: SandboxClient::new(Client::connect(&self.address).await.expect("a shim that serves")),
            address: self.address.clone(),
            id: self.id.clone(),
            bundle: self.bundle.clone(),
        }
    }

    pub async fn create(&self) -> Answer<()> {
        let request = request!(CreateSandboxRequest, self, bundle_path: self.bundle.clone());
        self.client.create_sandbox(soon(), &request).await.map(drop)
    }

    pub async fn start(&self) -> Answer<StartSandboxResponse> {
        self.client
            .start_sandbox(soon(), &request!(StartSandboxRequest, self,))
            .await
    }

    pub async fn stop(&self, timeout_secs: u32) -> Answer<()> {
        let request = request!(StopSandboxRequest, self, timeout_secs: timeout_secs);
        self.client.stop_sandbox(soon(), &request).await.map(drop)
    }

    pub async fn wait(&self) -> Answer<WaitSandboxResponse> {
        self.client
            .wait_sandbox(soon(), &request!(WaitSandboxRequest, self,))
            .await
    }

    pub async fn status(&self) -> Answer<SandboxStatusResponse> {
        self.client
            .sandbox_status(soon(), &request!(SandboxStatusRequest, self,))
            .await
    }

    pub async fn ping(&self) -> Answer<()> {
        self.client
            .ping_sandbox(soon(), &request!(PingRequest, self,))
            .await
            .map(drop)
    }

    pub async fn platform(&self) -> Answer<PlatformResponse> {
        self.client.platform(soon(), &request!(PlatformRequest, self,)).await
    }

    pub async fn metrics(&self) -> Answer<SandboxMetricsResponse> {
        self.client
            .sandbox_metrics(soon(), &request!(SandboxMetricsRequest, self,))
            .await
    }

    pub async fn shutdown(&self) -> Answer<()> {
        self.client
            .shutdown_sandbox(soon(), &request!(ShutdownSandboxRequest, self,))
            .await
            .map(drop)
    }
}
