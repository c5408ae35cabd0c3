//! The call that makes the shim become another program: the question to the old one, and the answer of the new one.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use davit_shim_api::upgrade::{
    upgrade::{UpgradeRequest, UpgradeResponse},
    upgrade_ttrpc,
};
use tokio::sync::{Notify, oneshot};
use ttrpc::{Code, r#async::TtrpcContext, get_status};

/// Who has asked for an upgrade, or has one behind him.
#[derive(Debug, Default)]
pub struct Upgrader {
    asked: Mutex<VecDeque<Asked>>,
    added: Notify,
    /// The call for this program comes again, and this came of it.
    outcome: Mutex<Option<(PathBuf, Result<(), String>)>>,
}

/// A program that the shim is to become.
#[derive(Debug)]
pub struct Asked {
    /// Its path.
    pub program: PathBuf,
    refusal: oneshot::Sender<String>,
}

impl Asked {
    /// Whether somebody still waits for it. The outcome of another would be taken for that of the next one who asks for this program.
    pub fn is_wanted(&self) -> bool {
        !self.refusal.is_closed()
    }

    /// Tells who has asked why it cannot be.
    pub fn refuse(self, why: String) {
        // He may have gone.
        let _ = self.refusal.send(why);
    }
}

impl Upgrader {
    /// One that answers the call which has led from another program to this one.
    pub fn after(program: PathBuf, outcome: Result<(), String>) -> Self {
        Self {
            outcome: Mutex::new(Some((program, outcome))),
            ..Self::default()
        }
    }

    /// The next program that the shim is to become.
    pub async fn next(&self) -> Asked {
        loop {
            let asked = self.asked().pop_front();
            match asked {
                // Who has gone does not want it any more.
                Some(asked) if asked.is_wanted() => return asked,
                Some(_) => {}
                None => self.added.notified().await,
            }
        }
    }

    async fn upgrade(&self, program: PathBuf) -> Result<(), String> {
        if let Some(outcome) = self.outcome_for(&program) {
            return outcome;
        }
        let (refusal, refused) = oneshot::channel();
        self.asked().push_back(Asked { program, refusal });
        self.added.notify_one();
        Err(refused.await.unwrap_or_else(|_| "the shim ends".into()))
    }

    fn outcome_for(&self, program: &Path) -> Option<Result<(), String>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = outcome.take_if(|(done, _)| done == program);
        taken.map(|(_, outcome)| outcome)
    }

    fn asked(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The service on the wire.
pub struct UpgradeService(pub std::sync::Arc<Upgrader>);

#[async_trait]
impl upgrade_ttrpc::Upgrade for UpgradeService {
    async fn upgrade(&self, _: &TtrpcContext, request: UpgradeRequest) -> ttrpc::Result<UpgradeResponse> {
        let refuse = |code, text: String| Err(ttrpc::Error::RpcStatus(get_status(code, text)));
        let program = PathBuf::from(request.program);
        if !program.is_absolute() {
            let text = format!("program {} is not an absolute path", program.display());
            return refuse(Code::INVALID_ARGUMENT, text);
        }
        match self.0.upgrade(program).await {
            Err(text) => refuse(Code::FAILED_PRECONDITION, text),
            Ok(()) => Ok(UpgradeResponse {
                version: env!("CARGO_PKG_VERSION").into(),
                pid: std::process::id(),
                ..Default::default()
            }),
        }
    }
}
