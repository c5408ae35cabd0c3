//! A container from a checkpoint: described when it is created, restored when it is started.
//!
//! Until then it has streams and a root file system, but no process, and the runtime knows nothing of it. A restoration that
//! fails cannot be tried again, for the runtime has had the streams: the container can only be deleted.

use std::{ffi::OsStr, path::PathBuf, sync::Arc};

use davit_shim_api::options::oci::Options;
use serde::{Deserialize, Serialize};

use super::{Container, create::undo};
use crate::{
    error::TaskError,
    exit::Exit,
    process::{Live, Status},
    reaper::ExitReceiver,
    stdio::Prepared,
};

/// What a container is restored from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The folder of criu's image.
    image: PathBuf,
    /// Where criu leaves its log; `None`: with the container's other files.
    work: Option<PathBuf>,
    no_pivot_root: bool,
}

impl Checkpoint {
    /// The checkpoint of a request; `None` where the image's path is empty.
    pub fn of(image: &str, options: &Options) -> Option<Self> {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Some(Self {
            image: path(image)?,
            work: path(&options.criu_work_path),
            no_pivot_root: options.no_pivot_root,
        })
    }

    /// The folder of criu's image, for those who ask.
    pub(super) fn image(&self) -> String {
        self.image.display().to_string()
    }
}

impl Container {
    /// Lets the runtime restore init, which runs at once.
    pub(super) async fn restore(self: &Arc<Self>, checkpoint: &Checkpoint) -> Result<(), TaskError> {
        let taken = self.init.take_prepared();
        let prepared = taken
            .ok_or_else(|| TaskError::State("cannot start a container whose restoration has failed before".into()))?;
        let (live, exit) = self.bring_back(checkpoint, prepared).await?;
        self.init.made(live);
        self.watch_init(exit);
        Ok(())
    }

    async fn bring_back(
        &self,
        checkpoint: &Checkpoint,
        mut prepared: Prepared,
    ) -> Result<(Live, ExitReceiver), TaskError> {
        let births = self.host.reaper.births();
        let called = self.call_restore(checkpoint, &mut prepared).await;
        davit_fail_point::reach("shim.restore.runtime-called");
        let is_restored = called.is_ok();
        let made = Live::take_over(called, &self.bundle.init_pid_file(), &births, prepared).await;
        if made.is_err() && is_restored {
            undo(&self.oci, &self.bundle, &self.id).await;
        }
        made
    }

    async fn call_restore(&self, checkpoint: &Checkpoint, prepared: &mut Prepared) -> Result<(), TaskError> {
        let (pid_file, stdio) = (self.bundle.init_pid_file(), prepared.call_stdio());
        let work = checkpoint.work.clone().unwrap_or_else(|| self.bundle.work());
        // The shim is the subreaper.
        let mut arguments: Vec<&OsStr> = ["restore", "--detach", "--no-subreaper"].map(OsStr::new).into();
        arguments.extend(["--bundle".as_ref(), self.bundle.path().as_os_str()]);
        arguments.extend(["--image-path".as_ref(), checkpoint.image.as_os_str()]);
        arguments.extend(["--work-path".as_ref(), work.as_os_str()]);
        arguments.extend(["--pid-file".as_ref(), pid_file.as_os_str()]);
        if let Some(path) = prepared.console_path() {
            arguments.extend(["--console-socket".as_ref(), path.as_os_str()]);
        }
        if checkpoint.no_pivot_root {
            arguments.push("--no-pivot".as_ref());
        }
        arguments.push(self.id.as_ref().as_ref());
        let log = self.bundle.runtime_log();
        Ok(self
            .oci
            .call("OCI runtime restore failed", &log, &arguments, stdio)
            .await?)
    }

    /// Whether it waits for its restoration, or waits in vain.
    pub(super) fn is_unrestored(&self) -> bool {
        self.init.live().is_none()
    }

    /// Gives the restoration up, or says how the restored init has ended.
    pub(super) async fn forgo(&self) -> Result<Exit, TaskError> {
        // One that is under way is waited for.
        let _order = self.order.lock().await;
        match self.init.status() {
            Status::Created => {
                let exit = Exit::now(0);
                self.init.set_exit(exit);
                Ok(exit)
            }
            Status::Running => Err(TaskError::State("cannot delete a running process".into())),
            Status::Stopped(exit) => Ok(exit),
        }
    }
}
