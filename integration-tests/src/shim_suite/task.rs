//! A container of the shim, and the calls of the task service on it.

use std::time::Duration;

use davit_shim_api::task_v3::{shim::*, shim_ttrpc::TaskClient, task::Status};
use protobuf::{Message, well_known_types::any::Any};
use serde_json::{Value, json};
use ttrpc::{Code, asynchronous::Client, context};

/// What a call answers.
pub type Answer<T> = ttrpc::Result<T>;

/// A container; `exec` is empty for its first process.
#[derive(Clone)]
pub struct Task {
    /// The way to its shim.
    pub client: TaskClient,
    /// The address of its shim.
    pub address: String,
    /// Its id.
    pub id: String,
    /// How it is created.
    pub request: CreateTaskRequest,
}

/// The code of a call's refusal.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(answer: Answer<T>) -> Code {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => status.code(),
        other => panic!("not refused: {other:?}"),
    }
}

/// The process of a shell script, as OCI has it.
pub fn process(script: &str) -> Value {
    json!({ "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } })
}

/// JSON in an `Any`, as containerd has it.
pub fn json_any(kind: &str, value: &Value) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
        value: value.to_string().into_bytes(),
        ..Default::default()
    }
}

fn soon() -> context::Context {
    context::with_duration(Duration::from_secs(60))
}

/// Makes a request of the fields of a task's calls.
macro_rules! request {
    ($kind:ident, $task:expr, $($field:ident: $value:expr),* $(,)?) => {
        $kind { id: $task.id.clone(), $($field: $value.into(),)* ..Default::default() }
    };
}

impl Task {
    /// The same on a connection of its own: calls at once on one connection may get there in another order than they are numbered,
    /// which a shim may refuse.
    pub async fn beside(&self) -> Self {
        Self {
            client: connect(&self.address).await,
            ..self.clone()
        }
    }

    pub async fn create(&self) -> Answer<u32> {
        Ok(self.client.create(soon(), &self.request).await?.pid)
    }

    pub async fn start(&self, exec: &str) -> Answer<u32> {
        let request = request!(StartRequest, self, exec_id: exec);
        Ok(self.client.start(soon(), &request).await?.pid)
    }

    /// The exit status.
    pub async fn wait(&self, exec: &str) -> Answer<u32> {
        let request = request!(WaitRequest, self, exec_id: exec);
        Ok(self.client.wait(soon(), &request).await?.exit_status)
    }

    pub async fn state(&self, exec: &str) -> Answer<StateResponse> {
        let request = request!(StateRequest, self, exec_id: exec);
        self.client.state(soon(), &request).await
    }

    pub async fn status(&self, exec: &str) -> Status {
        self.state(exec).await.expect("a state").status.enum_value_or_default()
    }

    pub async fn kill(&self, exec: &str, signal: u32) -> Answer<()> {
        let request = request!(KillRequest, self, exec_id: exec, signal: signal);
        self.client.kill(soon(), &request).await.map(drop)
    }

    pub async fn kill_all(&self, signal: u32) -> Answer<()> {
        let request = request!(KillRequest, self, signal: signal, all: true);
        self.client.kill(soon(), &request).await.map(drop)
    }

    pub async fn delete(&self, exec: &str) -> Answer<DeleteResponse> {
        let request = request!(DeleteRequest, self, exec_id: exec);
        self.client.delete(soon(), &request).await
    }

    /// Adds a process that runs a script.
    pub async fn exec(&self, exec: &str, script: &str) -> Answer<()> {
        self.exec_process(exec, &process(script), "").await
    }

    /// Both outputs go to this URI.
    pub fn write_to(&mut self, uri: String) {
        self.request.stderr.clone_from(&uri);
        self.request.stdout = uri;
    }

    /// Adds a process whose outputs go to this URI.
    pub async fn exec_process(&self, exec: &str, process: &Value, output: &str) -> Answer<()> {
        let spec = json_any("Process", process);
        let request =
            request!(ExecProcessRequest, self, exec_id: exec, spec: Some(spec), stdout: output, stderr: output);
        self.client.exec(soon(), &request).await.map(drop)
    }

    pub async fn pause(&self) -> Answer<()> {
        self.client
            .pause(soon(), &request!(PauseRequest, self,))
            .await
            .map(drop)
    }

    pub async fn resume(&self) -> Answer<()> {
        self.client
            .resume(soon(), &request!(ResumeRequest, self,))
            .await
            .map(drop)
    }

    pub async fn pids(&self) -> Answer<Vec<u32>> {
        let response = self.client.pids(soon(), &request!(PidsRequest, self,)).await?;
        Ok(response.processes.iter().map(|process| process.pid).collect())
    }

    pub async fn update(&self, resources: &Value) -> Answer<()> {
        let resources = json_any("LinuxResources", resources);
        let request = request!(UpdateTaskRequest, self, resources: Some(resources));
        self.client.update(soon(), &request).await.map(drop)
    }

    pub async fn stats(&self) -> Answer<Any> {
        let response = self.client.stats(soon(), &request!(StatsRequest, self,)).await?;
        Ok(response.stats.into_option().unwrap_or_default())
    }

    pub async fn close_stdin(&self, exec: &str) -> Answer<()> {
        let request = request!(CloseIORequest, self, exec_id: exec, stdin: true);
        self.client.close_io(soon(), &request).await.map(drop)
    }

    pub async fn resize(&self, width: u32, height: u32) -> Answer<()> {
        let request = request!(ResizePtyRequest, self, width: width, height: height);
        self.client.resize_pty(soon(), &request).await.map(drop)
    }

    pub async fn connect(&self) -> Answer<ConnectResponse> {
        self.client.connect(soon(), &request!(ConnectRequest, self,)).await
    }

    /// A shim may end before it has answered.
    pub async fn shutdown(&self) -> Answer<()> {
        match self.client.shutdown(soon(), &request!(ShutdownRequest, self,)).await {
            Err(ttrpc::Error::Socket(_)) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Creates and starts it.
    pub async fn run(&self) -> u32 {
        self.create().await.expect("create");
        self.start("").await.expect("start")
    }

    /// Kills, waits for and deletes it.
    pub async fn end(&self) {
        self.kill("", 9).await.expect("kill");
        self.wait("").await.expect("wait");
        self.delete("").await.expect("delete");
    }
}

/// A client of the task service.
pub async fn connect(address: &str) -> TaskClient {
    TaskClient::new(Client::connect(address).await.expect("a shim that serves"))
}

/// The same bytes as a message of the other generation of the protocol, which differs in its name alone.
pub fn as_other<A: Message, B: Message>(message: &A) -> B {
    B::parse_from_bytes(&message.write_to_bytes().expect("a message")).expect("the same message")
}
