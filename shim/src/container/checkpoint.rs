//! Writing a container's state down.

use std::{
    fs,
    path::{Path, PathBuf},
};

use davit_shim_api::{options::oci::CheckpointOptions, task_events::task::TaskCheckpointed};

use super::Container;
use crate::{error::TaskError, oci::CallStdio, process::Status};

impl Container {
    /// Writes the container's state to the folder `path`, or to the one that the options name where it is empty.
    ///
    /// Afterwards the container is as it was, running or paused, or it has ended if the options say so.
    pub async fn checkpoint(&self, path: &str, options: &CheckpointOptions) -> Result<(), TaskError> {
        if self.init.status() != Status::Running {
            let state = self.state_name();
            return Err(TaskError::State(format!(
                "cannot checkpoint a container that is {state}"
            )));
        }
        let image = match path {
            "" => options.image_path.as_str(),
            path => path,
        };
        if image.is_empty() {
            return Err(TaskError::Invalid("a checkpoint needs an image path".into()));
        }
        // An end that the checkpoint brings about is told after it.
        let _order = match options.exit {
            true => Some(self.order.lock().await),
            false => None,
        };
        let work = Work::new(&options.work_path, self.bundle.work().join("criu-work"));
        let called = self
            .call(
                "OCI runtime checkpoint failed",
                &arguments(image, &work.path.display().to_string(), options),
                CallStdio::Captured,
            )
            .await;
        davit_fail_point::reach("shim.checkpoint.dumped");
        called.map_err(|error| self.keep_log(&work.path, error))?;
        let event = TaskCheckpointed {
            container_id: self.id.to_string(),
            checkpoint: image.to_owned(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/checkpointed", &event);
        Ok(())
    }

    /// What criu says of a failure is in its log alone: it is kept in the bundle, and the error says where.
    fn keep_log(&self, work: &Path, error: TaskError) -> TaskError {
        let kept = self.bundle.path().join("criu-dump.log");
        match fs::copy(work.join("dump.log"), &kept) {
            Ok(_) => TaskError::Checkpoint {
                log: kept,
                source: Box::new(error),
            },
            // criu was not called.
            Err(_) => error,
        }
    }
}

/// Where criu works and logs; ours goes when it is done, one that the caller has named stays.
struct Work {
    path: PathBuf,
    is_ours: bool,
}

impl Work {
    fn new(named: &str, own: PathBuf) -> Self {
        match named {
            "" => Self {
                path: own,
                is_ours: true,
            },
            named => Self {
                path: named.into(),
                is_ours: false,
            },
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.is_ours {
            // It was made only if criu was called, and whatever is left goes with the bundle.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn arguments<'a>(image: &'a str, work: &'a str, options: &'a CheckpointOptions) -> Vec<&'a str> {
    let mut arguments = vec!["checkpoint", "--image-path", image, "--work-path", work];
    let switches = [
        (!options.exit, "--leave-running"),
        (options.open_tcp, "--tcp-established"),
        (options.external_unix_sockets, "--ext-unix-sk"),
        (options.terminal, "--shell-job"),
        (options.file_locks, "--file-locks"),
    ];
    arguments.extend(switches.iter().filter(|(on, _)| *on).map(|(_, switch)| *switch));
    for namespace in &options.empty_namespaces {
        arguments.extend(["--empty-ns", namespace]);
    }
    let named = [
        ("--manage-cgroups-mode", &options.cgroups_mode),
        ("--parent-path", &options.parent_path),
    ];
    for (name, value) in named.into_iter().filter(|(_, value)| !value.is_empty()) {
        arguments.extend([name, value]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_becomes_an_argument() {
        let options = CheckpointOptions {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".into(), "ipc".into()],
            cgroups_mode: "soft".into(),
            parent_path: "../before".into(),
            // The folders are arguments of their own.
            image_path: String::new(),
            work_path: String::new(),
            special_fields: Default::default(),
        };
        assert_eq!(
            arguments("/i", "/w", &options).join(" "),
            "checkpoint --image-path /i --work-path /w --tcp-established --ext-unix-sk --shell-job --file-locks \
             --empty-ns network --empty-ns ipc --manage-cgroups-mode soft --parent-path ../before"
        );
        let arguments = arguments("/i", "/w", &CheckpointOptions::default()).join(" ");
        assert_eq!(arguments, "checkpoint --image-path /i --work-path /w --leave-running");
    }

    #[test]
    fn only_a_folder_of_our_own_goes() {
        let dir = tempfile::tempdir().unwrap();
        let [own, named] = ["own", "named"].map(|name| dir.path().join(name));
        for path in [&own, &named] {
            fs::create_dir(path).unwrap();
        }
        drop(Work::new("", own.clone()));
        drop(Work::new(named.to_str().unwrap(), own.clone()));
        assert!(!own.exists() && named.exists());
    }
}
