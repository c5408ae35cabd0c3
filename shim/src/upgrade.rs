//! `upgrade`: asks the shim at a socket to become this program.

use std::{
    env,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use davit_shim_api::upgrade::{upgrade::UpgradeRequest, upgrade_ttrpc::UpgradeClient};
use tokio::net::UnixStream;
use ttrpc::{
    asynchronous::{Client, transport::Socket},
    context,
};

/// Longer than the shim itself waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shim that has not become this program.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// It cannot be reached, or this program does not know itself.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// It goes on as it was, and these are its words.
    #[error("the shim goes on as it was: {0}")]
    Refused(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> UpgradeError {
    let what = what.into();
    move |source| UpgradeError::Io { what, source }
}

/// Asks, waits for the answer, and prints the shim's pid.
pub fn run(socket: &Path) -> Result<(), UpgradeError> {
    let program = env::current_exe().map_err(failed("cannot find this program"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("cannot build the runtime"))?;
    let pid = runtime.block_on(ask(socket, &program))?;
    writeln!(io::stdout(), "{pid}").map_err(failed("cannot write the pid"))
}

async fn ask(socket: &Path, program: &Path) -> Result<u32, UpgradeError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(failed(format!("cannot connect to {}", socket.display())))?;
    let client = UpgradeClient::new(Client::new(Socket::from(stream)));
    let request = UpgradeRequest {
        program: program.display().to_string(),
        ..Default::default()
    };
    let response = client.upgrade(context::with_duration(PATIENCE), &request).await;
    response.map(|response| response.pid).map_err(refused)
}

fn refused(error: ttrpc::Error) -> UpgradeError {
    UpgradeError::Refused(match error {
        ttrpc::Error::RpcStatus(status) => status.message,
        other => other.to_string(),
    })
}
