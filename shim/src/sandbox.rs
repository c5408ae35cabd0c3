//! A sandbox: the group of containers in this shim, as a manager has asked for it by name.
//!
//! It has a process of its own only where its specification describes one; that is then a container of the sandbox's id, and the
//! sandbox has ended when that has. Without one nothing runs for it: it is what keeps the shim when no container does, and it ends
//! when it is stopped.

use std::path::PathBuf;

use davit_vocabulary::ContainerId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::exit::Exit;

/// All that is known of a sandbox; what else belongs to it is in its containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Its id.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: PathBuf,
    /// The network namespace that the manager has made for its containers; may be empty.
    pub netns: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it has a process of its own.
    pub has_process: bool,
    /// How far its life has come.
    pub phase: Phase,
}

/// The life of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Made, not started.
    Created,
    /// Started.
    Ready,
    /// Being stopped: it takes no more containers.
    Stopping,
    /// Over.
    Stopped(Exit),
}

impl Sandbox {
    /// Its state in the words of CRI, which is what managers pass on.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Ready => "SANDBOX_READY",
            Phase::Created | Phase::Stopping | Phase::Stopped(_) => "SANDBOX_NOTREADY",
        }
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Stopped(exit) => Some(exit),
            Phase::Created | Phase::Ready | Phase::Stopping => None,
        }
    }
}

/// The place for the one sandbox that a shim may hold. What was held once stays known until the shim ends.
#[derive(Debug, Default)]
pub struct SandboxSlot {
    held: watch::Sender<Option<Sandbox>>,
}

impl SandboxSlot {
    /// The sandbox, if there is one.
    pub fn held(&self) -> Option<Sandbox> {
        self.held.borrow().clone()
    }

    /// Holds a sandbox.
    pub fn hold(&self, sandbox: Sandbox) {
        self.held.send_replace(Some(sandbox));
    }

    /// Goes on in its life. Its end is final: the first that is told counts.
    pub fn go_on(&self, phase: Phase) {
        self.held.send_if_modified(|held| match held {
            Some(sandbox) if sandbox.exit().is_none() => {
                sandbox.phase = phase;
                true
            }
            _ => false,
        });
    }

    /// Returns when the sandbox has ended.
    pub async fn ended(&self) -> Exit {
        let mut held = self.held.subscribe();
        let exit = |held: &Option<Sandbox>| held.as_ref().and_then(Sandbox::exit);
        let ended = held.wait_for(|held| exit(held).is_some()).await;
        // The sender lives as long as this.
        ended
            .ok()
            .and_then(|held| exit(&held))
            .unwrap_or_else(|| Exit::now(255))
    }

    /// Whether a sandbox keeps the shim, although no container does.
    pub fn keeps_shim(&self) -> bool {
        self.held
            .borrow()
            .as_ref()
            .is_some_and(|sandbox| sandbox.exit().is_none())
    }

    /// Whether a sandbox is here of which no more containers may become part.
    pub fn is_closed(&self) -> bool {
        let held = self.held.borrow();
        held.as_ref()
            .is_some_and(|sandbox| matches!(sandbox.phase, Phase::Stopping | Phase::Stopped(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> Sandbox {
        Sandbox {
            id: "s".parse().unwrap(),
            bundle: "/b".into(),
            netns: "/run/netns/n".into(),
            created_at: Timestamp::now(),
            has_process: false,
            phase: Phase::Created,
        }
    }

    #[tokio::test]
    async fn an_end_is_final_and_known_to_who_asks_late() {
        let slot = SandboxSlot::default();
        assert!(!slot.keeps_shim() && !slot.is_closed());
        slot.hold(sandbox());
        slot.go_on(Phase::Ready);
        assert_eq!(slot.held().unwrap().state(), "SANDBOX_READY");
        slot.go_on(Phase::Stopping);
        assert!(slot.keeps_shim() && slot.is_closed());
        let exit = Exit::now(7);
        slot.go_on(Phase::Stopped(exit));
        slot.go_on(Phase::Stopped(Exit::now(0)));
        slot.go_on(Phase::Ready);
        assert_eq!(slot.ended().await, exit);
        assert!(!slot.keeps_shim() && slot.is_closed());
        assert_eq!(slot.held().unwrap().state(), "SANDBOX_NOTREADY");
    }

    #[test]
    fn a_sandbox_can_be_written_down_and_read_again() {
        for phase in [
            Phase::Created,
            Phase::Ready,
            Phase::Stopping,
            Phase::Stopped(Exit::now(3)),
        ] {
            let written = Sandbox { phase, ..sandbox() };
            let text = serde_json::to_string(&written).unwrap();
            assert_eq!(serde_json::from_str::<Sandbox>(&text).unwrap(), written);
        }
    }
}
