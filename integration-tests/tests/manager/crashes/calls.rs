//! The calls of a client that goes step by step, where `ctr` takes many at once.

use std::path::Path;

use davit_containerd_api::{
    services::{
        containers::v1::{
            Container, CreateContainerRequest, DeleteContainerRequest, container::Runtime,
            containers_client::ContainersClient,
        },
        tasks::v1::{
            CheckpointTaskRequest, CreateTaskRequest, DeleteProcessRequest, DeleteTaskRequest, ExecProcessRequest,
            GetRequest, KillRequest, PauseTaskRequest, StartRequest, WaitRequest, tasks_client::TasksClient,
        },
    },
    types::{Descriptor, Mount},
    v1::types::Status as State,
};
use davit_integration_tests::{Scratch, wait};
use davit_shim_api::options::oci::Options;
use prost_types::Any;
use protobuf::Message;
use serde_json::{Value, json};
use tonic::{Code, Request, Status, service::interceptor::InterceptedService, transport::Channel};

use super::super::{channel, journal::block_on};

type Intercepted = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// A client of a manager.
pub struct Client<'a> {
    pub socket: &'a Path,
    pub scratch: &'a Scratch,
    /// The runtime's name, or the path of its shim.
    pub runtime: String,
}

impl Client<'_> {
    async fn channel(&self) -> Result<Channel, Status> {
        Ok(channel::to(self.socket).await)
    }

    async fn tasks(&self) -> Result<TasksClient<Intercepted>, Status> {
        Ok(TasksClient::with_interceptor(
            self.channel().await?,
            channel::in_the_namespace,
        ))
    }

    async fn containers(&self) -> Result<ContainersClient<Intercepted>, Status> {
        Ok(ContainersClient::with_interceptor(
            self.channel().await?,
            channel::in_the_namespace,
        ))
    }

    /// A container that runs a script, in the root that is mounted for its task.
    pub fn container(&self, id: &str, script: &str) -> Container {
        self.container_in("rootfs", id, script, &[])
    }

    /// One that shares its shim with the others of a group.
    pub fn container_of_group(&self, group: &str, id: &str, script: &str) -> Container {
        let mut container = self.container(id, script);
        let spec = container.spec.as_mut().expect("it has one");
        let mut json: Value = serde_json::from_slice(&spec.value).expect("JSON");
        json["annotations"] = json!({ "io.containerd.runc.v2.group": group });
        spec.value = json.to_string().into_bytes();
        container
    }

    /// One with labels in another root.
    pub fn container_in(&self, root: &str, id: &str, script: &str, labels: &[(&str, &str)]) -> Container {
        Container {
            id: id.into(),
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect(),
            runtime: Some(Runtime {
                name: self.runtime.clone(),
                options: Some(self.options()),
            }),
            spec: Some(Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
                value: spec(id, root, script).to_string().into_bytes(),
            }),
            ..Default::default()
        }
    }

    pub fn create_container(&self, container: Container) -> Result<(), Status> {
        block_on(async {
            let request = CreateContainerRequest {
                container: Some(container),
            };
            self.containers().await?.create(request).await.map(drop)
        })
    }

    pub fn delete_container(&self, id: &str) -> Result<(), Status> {
        block_on(async {
            let request = DeleteContainerRequest { id: id.into() };
            self.containers().await?.delete(request).await.map(drop)
        })
    }

    /// The runtime keeps its state in the scratch folder.
    fn options(&self) -> Any {
        let options = Options {
            root: self.scratch.join("runc").display().to_string(),
            ..Default::default()
        };
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().expect("a message"),
        }
    }

    pub fn create(&self, id: &str) -> Result<(), Status> {
        self.create_from(id, None)
    }

    /// Makes a task, from a checkpoint where there is one.
    pub fn create_from(&self, id: &str, checkpoint: Option<Descriptor>) -> Result<(), Status> {
        block_on(async {
            let rootfs = Mount {
                r#type: "bind".into(),
                source: self.scratch.join("rootfs").display().to_string(),
                options: vec!["rbind".into(), "rw".into()],
                ..Default::default()
            };
            let request = CreateTaskRequest {
                container_id: id.into(),
                rootfs: vec![rootfs],
                checkpoint,
                options: Some(self.options()),
                ..Default::default()
            };
            self.tasks().await?.create(request).await.map(drop)
        })
    }

    /// Writes the task down, which goes on, and returns the archive of its state.
    pub fn checkpoint(&self, id: &str) -> Result<Descriptor, Status> {
        block_on(async {
            let request = CheckpointTaskRequest {
                container_id: id.into(),
                ..Default::default()
            };
            let answer = self.tasks().await?.checkpoint(request).await?;
            let mut descriptors = answer.into_inner().descriptors.into_iter();
            Ok(descriptors.next().expect("an archive"))
        })
    }

    /// Starts the task, or an exec.
    pub fn start(&self, id: &str, exec: &str) -> Result<(), Status> {
        block_on(async {
            let request = StartRequest {
                container_id: id.into(),
                exec_id: exec.into(),
            };
            self.tasks().await?.start(request).await.map(drop)
        })
    }

    pub fn exec(&self, id: &str, exec: &str, script: &str) -> Result<(), Status> {
        block_on(async {
            let request = ExecProcessRequest {
                container_id: id.into(),
                exec_id: exec.into(),
                spec: Some(Any {
                    type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
                    value: process(script).to_string().into_bytes(),
                }),
                ..Default::default()
            };
            self.tasks().await?.exec(request).await.map(drop)
        })
    }

    pub fn kill(&self, id: &str) -> Result<(), Status> {
        block_on(async {
            let request = KillRequest {
                container_id: id.into(),
                signal: 9,
                all: true,
                ..Default::default()
            };
            self.tasks().await?.kill(request).await.map(drop)
        })
    }

    pub fn pause(&self, id: &str) -> Result<(), Status> {
        block_on(async {
            let request = PauseTaskRequest {
                container_id: id.into(),
            };
            self.tasks().await?.pause(request).await.map(drop)
        })
    }

    /// Waits for the end of the task, or of an exec, and returns its exit status.
    pub fn wait(&self, id: &str, exec: &str) -> Result<u32, Status> {
        block_on(async {
            let request = WaitRequest {
                container_id: id.into(),
                exec_id: exec.into(),
            };
            let answer = self.tasks().await?.wait(request).await?;
            Ok(answer.into_inner().exit_status)
        })
    }

    /// Removes the task and returns its exit status.
    pub fn delete(&self, id: &str) -> Result<u32, Status> {
        block_on(async {
            let request = DeleteTaskRequest {
                container_id: id.into(),
            };
            let answer = self.tasks().await?.delete(request).await?;
            Ok(answer.into_inner().exit_status)
        })
    }

    /// Removes an exec and returns its exit status.
    pub fn delete_exec(&self, id: &str, exec: &str) -> Result<u32, Status> {
        block_on(async {
            let request = DeleteProcessRequest {
                container_id: id.into(),
                exec_id: exec.into(),
            };
            let answer = self.tasks().await?.delete_process(request).await?;
            Ok(answer.into_inner().exit_status)
        })
    }

    /// The state of the task, or of an exec; `None` where there is none.
    pub fn state(&self, id: &str, exec: &str) -> Option<State> {
        let request = GetRequest {
            container_id: id.into(),
            exec_id: exec.into(),
        };
        let answer = block_on(async { self.tasks().await?.get(request).await });
        match answer {
            Ok(answer) => Some(answer.into_inner().process.expect("a process").status()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("state of {id} {exec}: {status}"),
        }
    }

    #[track_caller]
    pub fn wait_for(&self, id: &str, state: Option<State>) {
        wait::until_true(&format!("{id} is {state:?}"), 20, || self.state(id, "") == state);
    }

    /// Kills the task, if there is one, and removes it.
    #[track_caller]
    pub fn end(&self, id: &str) {
        match self.state(id, "") {
            None => return,
            Some(State::Stopped) => {}
            Some(_) => {
                unless_gone(self.kill(id));
                wait::until_true(&format!("{id} ends"), 20, || {
                    matches!(self.state(id, ""), None | Some(State::Stopped))
                });
            }
        }
        unless_gone(self.delete(id));
    }

    /// A container whose script waits, running.
    pub fn run(&self, id: &str, script: &str) {
        self.create_container(self.container(id, script)).expect("a record");
        self.create(id).expect("create");
        self.start(id, "").expect("start");
    }

    /// From its record to its end a container does what it does where nobody has died.
    #[track_caller]
    pub fn works(&self, id: &str) {
        self.run(id, "exit 7");
        assert_eq!(self.wait(id, "").expect("wait"), 7);
        self.wait_for(id, Some(State::Stopped));
        assert_eq!(self.delete(id).expect("delete"), 7);
        self.delete_container(id).expect("its record is removed");
    }
}

/// The restart monitor may have been faster.
#[track_caller]
fn unless_gone<T>(answer: Result<T, Status>) {
    match answer {
        Err(status) if status.code() == Code::NotFound => {}
        answer => drop(answer.expect("a task can be ended")),
    }
}

fn process(script: &str) -> Value {
    json!({ "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } })
}

fn spec(id: &str, root: &str, script: &str) -> Value {
    let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
    json!({
        "ociVersion": "1.0.2",
        "process": process(script),
        "root": { "path": root },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "cgroupsPath": format!("/davit-tests/{id}"), "namespaces": namespaces },
    })
}
