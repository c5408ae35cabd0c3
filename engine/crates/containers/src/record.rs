//! The stored record of a container, and the one place where its status changes.

use std::net::Ipv4Addr;

use davit_engine_spec::{Config, Host};
use davit_vocabulary::{ContainerId, Digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All that the engine keeps of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The image's id.
    pub image: Digest,
    /// What runs, image and user merged.
    pub config: Config,
    /// How it is held.
    pub host: Host,
    /// Where it is in its life.
    pub state: State,
}

/// Where a container is in its life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The status, as Docker names it.
    pub status: Status,
    /// Pid of the first process on this host; 0 when it does not run.
    pub pid: u32,
    /// Exit code of the last run.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// Whether the kernel killed in the last run for want of memory.
    pub oom_killed: bool,
    /// When the last run began.
    pub started_at: Option<Timestamp>,
    /// When the last run ended.
    pub finished_at: Option<Timestamp>,
    /// How often the restart policy restarted it since it was started by hand.
    pub restart_count: u32,
    /// Whether someone stopped it: no restart policy acts then.
    pub stopped_by_hand: bool,
    /// Its place on the bridge while it runs.
    pub endpoint: Option<StoredEndpoint>,
}

/// A place on the bridge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEndpoint {
    /// Address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// Hardware address as text.
    pub mac: String,
}

/// The status of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Never started.
    #[default]
    Created,
    /// A task of the manager holds it.
    Running,
    /// Waits for its restart policy to start it again.
    Restarting,
    /// Ran and ended, or could not be started.
    Exited,
    /// On its way out.
    Removing,
}

impl Status {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Removing => "removing",
        }
    }
}

/// What happens to a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Its first process is about to run.
    Started {
        /// Pid on this host.
        pid: u32,
        /// When.
        at: Timestamp,
        /// Its place on the bridge, if it has one.
        endpoint: Option<StoredEndpoint>,
    },
    /// It could not be started.
    StartFailed {
        /// For `docker inspect`.
        error: String,
        /// 126, 127 or 128.
        code: i32,
    },
    /// Its first process ended.
    Ended {
        /// Exit code.
        code: i32,
        /// When.
        at: Timestamp,
        /// Whether its restart policy will start it again.
        restarts: bool,
    },
    /// The kernel killed one of its processes for want of memory.
    OutOfMemory,
    /// Someone wants it stopped.
    StopAsked,
    /// Someone wants it started: the policy begins anew.
    StartAsked,
    /// Someone wants it gone.
    RemovalAsked,
}

impl State {
    /// The state after a change. Every change is possible in every state, for the manager's truth overrules the record.
    pub fn transition(&mut self, change: Change) {
        match change {
            Change::Started { pid, at, endpoint } => {
                self.status = Status::Running;
                self.pid = pid;
                self.started_at = Some(at);
                self.endpoint = endpoint;
                self.exit_code = 0;
                self.error.clear();
                self.oom_killed = false;
            }
            Change::StartFailed { error, code } => {
                self.status = if self.started_at.is_some() {
                    Status::Exited
                } else {
                    Status::Created
                };
                self.exit_code = code;
                self.error = error;
                self.leave();
            }
            Change::Ended { code, at, restarts } => {
                self.status = if restarts { Status::Restarting } else { Status::Exited };
                self.restart_count += u32::from(restarts);
                self.exit_code = code;
                self.finished_at = Some(at);
                self.leave();
            }
            Change::OutOfMemory => self.oom_killed = true,
            Change::StopAsked => {
                self.stopped_by_hand = true;
                if self.status == Status::Restarting {
                    self.status = Status::Exited;
                }
            }
            Change::StartAsked => {
                self.stopped_by_hand = false;
                self.restart_count = 0;
            }
            Change::RemovalAsked => self.status = Status::Removing,
        }
    }

    fn leave(&mut self) {
        self.pid = 0;
        self.endpoint = None;
    }

    /// Whether a task holds it.
    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }
}

impl Record {
    /// The first twelve digits of its id.
    pub fn short_id(&self) -> &str {
        self.id.get(..crate::id::SHORT).unwrap_or(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Change {
        Change::Started {
            pid: 7,
            at: Timestamp::UNIX_EPOCH,
            endpoint: None,
        }
    }

    #[test]
    fn a_run_leaves_its_exit_code_and_no_pid() {
        let mut state = State::default();
        state.transition(started());
        assert!(state.is_running() && state.pid == 7);
        let at = Timestamp::UNIX_EPOCH;
        state.transition(Change::Ended {
            code: 3,
            at,
            restarts: false,
        });
        assert_eq!((state.status, state.pid, state.exit_code), (Status::Exited, 0, 3));
    }

    #[test]
    fn a_container_that_never_ran_stays_created_when_its_start_fails() {
        let mut state = State::default();
        let (error, code) = ("exec: no".to_owned(), 127);
        state.transition(Change::StartFailed { error, code });
        assert_eq!((state.status, state.exit_code), (Status::Created, 127));
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_restart() {
        let mut state = State::default();
        state.transition(started());
        let at = Timestamp::UNIX_EPOCH;
        state.transition(Change::Ended {
            code: 1,
            at,
            restarts: true,
        });
        assert_eq!((state.status, state.restart_count), (Status::Restarting, 1));
        state.transition(Change::StopAsked);
        assert_eq!(state.status, Status::Exited);
        state.transition(Change::StartAsked);
        assert_eq!(state.restart_count, 0);
    }
}
