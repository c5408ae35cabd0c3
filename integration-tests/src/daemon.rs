//! The daemons under test and their real counterparts, each in a scratch folder.

use std::{
    fs::File,
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{peers, scratch::Scratch, wait};

/// How long a daemon may take until it answers, in seconds. Generous: the machine may be busy with other tests.
const START: u64 = 30;

/// A running daemon with a socket. Dropping it leaves it to [`Scratch`]'s sweep.
#[derive(Debug)]
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(scratch: &Scratch, name: &str, command: Command, socket: PathBuf) -> Self {
        let what = format!("{command:?}");
        let mut daemon = Self::spawn(scratch, name, command, socket);
        wait::until_true(&format!("{name} answers on {:?}", daemon.socket), START, || {
            if let Some(status) = daemon.child.try_wait().expect("the child is ours") {
                panic!("{name} ended with {status}: {what}");
            }
            UnixStream::connect(&daemon.socket).is_ok()
        });
        daemon
    }

    fn spawn(scratch: &Scratch, name: &str, mut command: Command, socket: PathBuf) -> Self {
        let log = File::options()
            .create(true)
            .append(true)
            .open(scratch.join(&format!("{name}.log")))
            .expect("a log file");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an fd"))
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        scratch.owns(&child);
        Self { child, socket }
    }

    fn is_killed(&mut self) {
        let ended = wait::until("the daemon is killed", START, || {
            self.child.try_wait().expect("it is ours")
        });
        assert_eq!(ended.signal(), Some(Signal::SIGKILL as i32), "{ended}");
    }

    fn signal(&mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the daemon runs");
        self.child.wait().expect("the daemon is a child");
    }
}

macro_rules! daemon {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Daemon);

        impl $name {
            /// Where it serves.
            pub fn socket(&self) -> &Path {
                &self.0.socket
            }

            /// Its process.
            pub fn pid(&self) -> u32 {
                self.0.child.id()
            }

            /// Ends it with SIGKILL, and waits until it is gone.
            pub fn kill(mut self) {
                self.0.signal(Signal::SIGKILL);
            }

            /// Waits until it has died of SIGKILL, by another's hand or at a fail point.
            pub fn is_killed(mut self) {
                self.0.is_killed();
            }

            /// Ends it with SIGTERM, and waits until it is gone.
            pub fn stop(mut self) {
                self.0.signal(Signal::SIGTERM);
            }
        }
    };
}

daemon!(
    /// `davitd`.
    Engine
);
daemon!(
    /// `davit-containerd`.
    Manager
);
daemon!(
    /// The real containerd.
    Containerd
);
daemon!(
    /// The real dockerd.
    Dockerd
);

impl Engine {
    /// Starts the engine with a manager of its own; again after [`Engine::kill`] on the same state.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[])
    }

    /// Starts the engine on a real containerd, which must see our shim.
    pub fn start_on(scratch: &Scratch, containerd: &Containerd) -> Self {
        let mut command = Command::new(scratch.shared_programs().join("davitd"));
        command.arg("--containerd").arg(containerd.socket());
        Self::run(scratch, command)
    }

    /// Starts the engine with more arguments.
    pub fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = scratch.program("davitd");
        command.args(arguments);
        Self::run(scratch, command)
    }

    fn run(scratch: &Scratch, mut command: Command) -> Self {
        let socket = scratch.join("d.sock");
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command
            .arg("--data-root")
            .arg(scratch.join("data"))
            .arg("--exec-root")
            .arg(scratch.join("exec"));
        command.args(["--bridge", &scratch.bridge(), "--bip", &scratch.subnet()]);
        command.arg("--pidfile").arg(scratch.join("davitd.pid"));
        Self(Daemon::start(scratch, "davitd", command, socket))
    }

    /// The pid of the manager that the engine started, from the manager's command line.
    pub fn manager_pid(&self, scratch: &Scratch) -> u32 {
        wait::until("the engine's manager runs", START, || {
            let socket = scratch.join("exec/containerd/containerd.sock");
            let socket = socket.to_str()?;
            crate::sweep::processes_of(scratch.path(), &[]).into_iter().find(|pid| {
                let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut words = line.split('\0');
                words
                    .next()
                    .is_some_and(|program| program.ends_with("davit-containerd"))
                    && words.any(|word| word == socket)
            })
        })
    }
}

impl Manager {
    /// Starts the manager alone.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, &[])
    }

    /// Starts the manager with more arguments.
    pub fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = scratch.program("davit-containerd");
        command.args(arguments);
        Self::run(scratch, command)
    }

    /// Starts the manager with the file of orders to fail points, its own and those of its shims.
    pub fn start_obeying(scratch: &Scratch, order: &Path) -> Self {
        let mut command = scratch.program("davit-containerd");
        obey(&mut command, order);
        Self::run(scratch, command)
    }

    /// The same among the peers.
    pub fn start_among_peers_obeying(scratch: &Scratch, order: &Path) -> Self {
        let mut command = peers::command(scratch.shared_programs().join("davit-containerd"));
        obey(&mut command, order);
        Self::run(scratch, command)
    }

    /// Starts the manager, which is to die at a fail point before it serves or soon after, and waits for that.
    pub fn start_and_die(scratch: &Scratch, order: &Path) {
        let mut command = scratch.program("davit-containerd");
        obey(&mut command, order);
        let (command, socket) = Self::placed(scratch, command);
        Daemon::spawn(scratch, "davit-containerd", command, socket).is_killed();
    }

    /// Starts the manager among the peers, where it finds `containerd-shim-runc-v2` and runc.
    pub fn start_among_peers(scratch: &Scratch) -> Self {
        Self::start_among_peers_with(scratch, &[])
    }

    /// Starts the manager among the peers, with more arguments.
    pub fn start_among_peers_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = peers::command(scratch.shared_programs().join("davit-containerd"));
        command.args(arguments);
        Self::run(scratch, command)
    }

    fn run(scratch: &Scratch, command: Command) -> Self {
        let (command, socket) = Self::placed(scratch, command);
        Self(Daemon::start(scratch, "davit-containerd", command, socket))
    }

    fn placed(scratch: &Scratch, mut command: Command) -> (Command, PathBuf) {
        let socket = scratch.join("c.sock");
        command
            .arg("--root")
            .arg(scratch.join("croot"))
            .arg("--state")
            .arg(scratch.join("cstate"));
        command.arg("--address").arg(&socket);
        (command, socket)
    }
}

/// The file of orders to fail points, as `davit_fail_point` reads it.
fn obey(command: &mut Command, order: &Path) {
    command.env("DAVIT_FAIL_POINT", format!("@{}", order.display()));
}

impl Containerd {
    /// Starts the real containerd.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, Self::CONFIGURATION)
    }

    /// Starts the real containerd from a process that is among the peers already.
    pub fn start_here(scratch: &Scratch) -> Self {
        Self::run(scratch, Command::new("containerd"), Self::CONFIGURATION)
    }

    /// Starts the real containerd with a file of orders to the fail points of our shims.
    pub fn start_obeying(scratch: &Scratch, order: &Path) -> Self {
        let mut command = peers::command("containerd");
        obey(&mut command, order);
        Self::run(scratch, command, Self::CONFIGURATION)
    }

    /// Starts the real containerd with this configuration.
    pub fn start_with(scratch: &Scratch, configuration: &str) -> Self {
        Self::run(scratch, peers::command("containerd"), configuration)
    }

    /// The CRI plugin wants a network configuration and is of no interest here.
    const CONFIGURATION: &str = "version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n";

    fn run(scratch: &Scratch, mut command: Command, configuration: &str) -> Self {
        let (socket, config) = (scratch.join("rc.sock"), scratch.join("containerd.toml"));
        std::fs::write(&config, configuration).expect("the folder is ours");
        command.arg("--config").arg(config).arg("--address").arg(&socket);
        command
            .arg("--root")
            .arg(scratch.join("rcroot"))
            .arg("--state")
            .arg(scratch.join("rcstate"));
        Self(Daemon::start(scratch, "containerd", command, socket))
    }
}

/// A dockerd that leaves the machine's network alone.
const WITHOUT_NETWORK: &[&str] = &["--bridge", "none", "--iptables=false", "--ip6tables=false"];

impl Dockerd {
    /// Starts the real dockerd with our runtime registered under the name `davit`, without a bridge.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, WITHOUT_NETWORK)
    }

    /// Starts the real dockerd with more arguments.
    pub fn start_with(scratch: &Scratch, arguments: &[&str]) -> Self {
        Self::run(scratch, peers::command("dockerd"), arguments)
    }

    /// Starts the real dockerd from a process that is among the peers already.
    pub fn start_here(scratch: &Scratch) -> Self {
        Self::run(scratch, Command::new("dockerd"), WITHOUT_NETWORK)
    }

    fn run(scratch: &Scratch, mut command: Command, arguments: &[&str]) -> Self {
        let socket = scratch.join("rd.sock");
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command
            .arg("--data-root")
            .arg(scratch.join("rdroot"))
            .arg("--exec-root")
            .arg(scratch.join("rdexec"));
        command.arg("--pidfile").arg(scratch.join("rd.pid"));
        let runtime = scratch.shared_programs().join("davit-runtime");
        command
            .arg("--add-runtime")
            .arg(format!("davit={}", runtime.display()))
            .args(arguments);
        Self(Daemon::start(scratch, "dockerd", command, socket))
    }
}
