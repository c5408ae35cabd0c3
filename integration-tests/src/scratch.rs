//! One test's own world: folders, names and a subnet, swept clean at its end.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Mutex,
};

use crate::{peers, program, sweep, workspace};

/// A folder below `/tmp` (the peers see it), a bridge name and a subnet that no other test has.
///
/// The path is short: sockets lie in it, and `sun_path` holds 107 bytes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    programs: PathBuf,
    number: u16,
    started: Mutex<Vec<u32>>,
}

impl Scratch {
    /// Makes a world for the tested programs.
    pub fn new() -> Self {
        Self::with_programs(&workspace::tested_programs())
    }

    /// Makes a world for the programs in this folder.
    pub fn with_programs(programs: &Path) -> Self {
        // The folder is the claim on its number: creating it is atomic between tests, threads and processes.
        for number in first_number().. {
            let number = number % 4096;
            let path = PathBuf::from(format!("/tmp/dvt{number}"));
            if fs::create_dir(&path).is_ok() {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
                return Self {
                    path,
                    programs: programs.to_owned(),
                    number,
                    started: Mutex::default(),
                };
            }
        }
        unreachable!("the range has no end")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside the folder.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A bridge name of this test's own.
    pub fn bridge(&self) -> String {
        format!("dvt{}", self.number)
    }

    /// The bridge's address and subnet, inside 10.128.0.0/9.
    pub fn subnet(&self) -> String {
        format!("10.{}.{}.1/24", 128 + self.number / 256, self.number % 256)
    }

    /// One of the tested programs.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// The folder of the tested programs, copied to where the peers see it.
    pub fn shared_programs(&self) -> PathBuf {
        let folder = self.join("bin");
        if !folder.exists() {
            fs::create_dir(&folder).expect("the scratch folder is ours");
            for entry in fs::read_dir(&self.programs).expect("the programs are built").flatten() {
                let (from, to) = (entry.path(), folder.join(entry.file_name()));
                if fs::hard_link(&from, &to).is_err() {
                    program::copy(from, &to).expect("a program can be copied");
                }
            }
        }
        folder
    }

    /// The real `docker` against an engine's socket.
    pub fn docker(&self, socket: &Path) -> Command {
        let mut docker = peers::command("docker");
        docker.arg("-H").arg(format!("unix://{}", socket.display()));
        docker
            .env("DOCKER_CONFIG", self.join("docker-config"))
            .env_remove("DOCKER_HOST");
        docker
    }

    /// The real `ctr` against a manager's socket.
    pub fn ctr(&self, socket: &Path) -> Command {
        let mut ctr = peers::command("ctr");
        ctr.arg("--address").arg(socket);
        ctr
    }

    /// Remembers a child process that must not outlive this test.
    pub fn owns(&self, child: &Child) {
        self.started
            .lock()
            .expect("no test panics while it holds the lock")
            .push(child.id());
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let started = self.started.lock().map(|started| started.clone()).unwrap_or_default();
        if std::thread::panicking() {
            show_logs(&self.path);
        }
        sweep::everything(&self.path, &self.bridge(), &started);
    }
}

/// Spreads tests of one moment over the numbers; a collision costs one more `mkdir`.
fn first_number() -> u16 {
    let nanoseconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.subsec_nanos());
    (nanoseconds / 1000 % 4096) as u16
}

/// Prints the tail of every daemon's log: the reason for a failure is seldom in the test.
fn show_logs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read(&path).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(6000)..];
            eprintln!("--- {}\n{}", path.display(), String::from_utf8_lossy(tail));
        }
    }
}
