//! Debian's docker-registry on a free loopback port, filled by skopeo.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
};

use crate::{Scratch, command::Run, peers, wait};

/// A running registry; [`Scratch`] ends it.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    /// Ended and reaped by the scratch folder's sweep.
    _child: Child,
}

impl Registry {
    /// Starts an empty registry.
    pub fn start(scratch: &Scratch) -> Self {
        let port = free_port();
        let config = scratch.join("registry.yml");
        let folder = scratch.join("registry");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.display()
        );
        fs::write(&config, text).expect("the folder is ours");
        let log = fs::File::create(scratch.join("registry.log")).expect("the folder is ours");
        let mut command = peers::command("docker-registry");
        command
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an fd"))
            .stderr(log);
        let child = command.spawn().expect("the peers are set up");
        scratch.owns(&child);
        wait::until_true("the registry answers", 30, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, _child: child }
    }

    /// The full name of a repository in it, `127.0.0.1:PORT/NAME`.
    pub fn name(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}", self.port)
    }

    /// Copies a docker-archive into it under `NAME:TAG`.
    pub fn push(&self, archive: &Path, repository: &str) {
        let mut skopeo = peers::command("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        skopeo
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}", self.name(repository)));
        skopeo.finish().ok();
    }
}

/// A port that was free a moment ago. Whoever binds it must do so at once.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback is up");
    listener.local_addr().expect("a bound socket has an address").port()
}
