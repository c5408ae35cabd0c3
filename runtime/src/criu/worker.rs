//! A `criu swrk`: one process for one question.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use davit_cgroup::Cgroup;
use davit_criu::{Connection, CriuFeatures, CriuNotify, CriuReq, CriuReqType, CriuResp, TalkError, Version};
use davit_sys::clone::{Fork, NEW_MOUNT, fork};
use rustix::{
    fs::{Access, access},
    io::{Errno as Kernel, fcntl_dupfd_cloexec},
    pipe::{PipeFlags, pipe_with},
    process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, set_parent_process_death_signal, waitid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::{CriuError, stage::Stage};
use crate::{
    errno::{Attempt, CallError},
    log,
    poll::is_readable_within,
};

const PROGRAM: &str = "criu";
/// Where criu finds its end of the socket; what else it is given follows.
pub const SOCKET_FD: i32 = 3;
/// How long a question about criu itself may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a dump may go on without a tick of CPU time, and how often that is looked at.
const IDLE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_secs(20);
/// How long criu may take to undo what it began: it waits up to ten seconds itself for processes to stop.
const FAREWELL: Duration = Duration::from_secs(60);

/// How a criu is to be started.
#[derive(Debug, Default)]
pub struct Setting<'a> {
    /// Whether it is killed when we die. Not for an ordinary dump: that one sees its socket closed and lets the
    /// container run on, while a kill could hit it with its hands in the container's memory.
    pub ends_with_us: bool,
    /// Whether it gets our standard streams, for the processes that it makes.
    pub standard_streams: bool,
    /// What it gets beside the socket, from descriptor 4 on.
    pub passed: Vec<OwnedFd>,
    /// The cgroup that it is to be in, and with it all it makes.
    pub cgroup: Option<&'a Cgroup>,
    /// What it is to find mounted, in a mount namespace of its own.
    pub stage: Option<&'a Stage>,
}

/// A running criu. When dropped, it is told to give up, and waited for.
#[derive(Debug)]
pub struct Worker {
    connection: Connection,
    pid: i32,
    pidfd: OwnedFd,
    ended: bool,
}

impl Worker {
    /// Starts one; it waits for a question.
    pub fn start(setting: &Setting) -> Result<Self, CriuError> {
        let program = find(env::var_os("PATH")).ok_or(CriuError::Missing)?;
        let (connection, theirs) = Connection::pair()?;
        let (told, teller) = pipe_with(PipeFlags::CLOEXEC).attempt("make", "pipe")?;
        let (go, goes) = pipe_with(PipeFlags::CLOEXEC).attempt("make", "pipe")?;
        let cgroup = setting.cgroup.map(Cgroup::clone_fd).transpose();
        let cgroup = cgroup.map_err(|err| CriuError::Start(err.to_string()))?.flatten();
        let namespaces = if setting.stage.is_some() { NEW_MOUNT } else { 0 };
        let forked = fork(namespaces, cgroup.as_ref().map(AsFd::as_fd)).attempt("clone", PROGRAM)?;
        let (pid, pidfd) = match forked {
            Fork::Child => {
                drop(goes);
                // Out of the way of what criu finds at fixed numbers.
                let teller = fcntl_dupfd_cloexec(&teller, SOCKET_FD + 1 + setting.passed.len() as i32);
                let Err(failure) = become_criu(&program, setting, &theirs, go);
                let _ = teller.map(|teller| File::from(teller).write_all(failure.as_bytes()));
                davit_sys::clone::exit_now(1)
            }
            Fork::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((teller, theirs, cgroup, go));
        let worker = Worker {
            connection,
            pid,
            pidfd,
            ended: false,
        };
        if let Some(cgroup) = setting.cgroup.filter(|cgroup| cgroup.adopts()) {
            match cgroup.adopt(pid) {
                Ok(()) => drop(File::from(goes).write_all(&[0])),
                Err(err) => {
                    // Without the word the child gives up.
                    drop(goes);
                    return Err(CriuError::Start(err.to_string()));
                }
            }
        }
        let mut failure = String::new();
        File::from(told).read_to_string(&mut failure).attempt("hear", PROGRAM)?;
        match failure.is_empty() {
            true => Ok(worker),
            false => Err(CriuError::Start(failure)),
        }
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks for something, acts at the points that criu reports, and returns when criu has done it and is gone.
    pub fn perform<E: From<CriuError>>(
        mut self,
        request: &CriuReq,
        mut at: impl FnMut(&CriuNotify, Option<OwnedFd>) -> Result<(), E>,
    ) -> Result<CriuResp, E> {
        log::debug(format_args!("criu is asked: {request:?}"));
        self.say(request)?;
        loop {
            self.watch(request)?;
            let (answer, fd) = self.connection.hear().map_err(CriuError::Talk)?;
            match (answer.success, answer.r#type()) {
                (false, kind) => return Err(failed(kind, &answer).into()),
                (true, CriuReqType::Notify) => {
                    let notify = answer.notify.clone().unwrap_or_default();
                    log::debug(format_args!("criu has come to {}", notify.point()));
                    at(&notify, fd)?;
                    self.say(&CriuReq {
                        r#type: CriuReqType::Notify as i32,
                        notify_success: Some(true),
                        ..CriuReq::default()
                    })?;
                }
                (true, kind) if kind == request.r#type() => {
                    self.connection.end();
                    self.take_exit(kind)?;
                    return Ok(answer);
                }
                _ => return Err(CriuError::Unexpected(format!("{answer:?}")).into()),
            }
        }
    }

    /// Asks something about criu itself.
    fn ask(self, request: &CriuReq) -> Result<CriuResp, CriuError> {
        self.say(request)?;
        if !self.connection.wait(PATIENCE)? {
            return Err(TalkError::Silent(PATIENCE).into());
        }
        let (answer, _) = self.connection.hear()?;
        match answer.success {
            true => Ok(answer),
            false => Err(failed(answer.r#type(), &answer)),
        }
    }

    /// Waits until there is something to hear, but not for a criu that has stopped working while the container stands
    /// still. A restore works in other processes, and a lazy dump waits for a reader: those may take their time.
    fn watch(&self, request: &CriuReq) -> Result<(), CriuError> {
        let is_lazy = request.opts.as_ref().and_then(|opts| opts.lazy_pages) == Some(true);
        if is_lazy || !matches!(request.r#type(), CriuReqType::Dump | CriuReqType::PreDump) {
            return Ok(());
        }
        let (mut used, mut idle) = (cpu_time(self.pid), Duration::ZERO);
        while !self.connection.wait(LOOK)? {
            let now = cpu_time(self.pid);
            idle = if now == used { idle + LOOK } else { Duration::ZERO };
            used = now;
            if idle >= IDLE {
                return Err(TalkError::Silent(idle).into());
            }
        }
        Ok(())
    }

    fn say(&self, request: &CriuReq) -> Result<(), CriuError> {
        Ok(self.connection.say(request)?)
    }

    /// Waits for the end of a criu that has answered, and has only to close its files.
    fn take_exit(&mut self, kind: CriuReqType) -> Result<(), CriuError> {
        let status = self.wait()?;
        match status {
            Some(status) if status.exit_status() == Some(0) => Ok(()),
            // It expects further pre-dumps and a dump over the same socket, and takes their absence for an error.
            _ if kind == CriuReqType::PreDump => Ok(()),
            Some(status) => Err(CriuError::Exit(describe(&status))),
            None => Ok(()),
        }
    }

    fn wait(&mut self) -> Result<Option<WaitIdStatus>, CallError> {
        self.ended = true;
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Kernel::INTR) => {}
                result => return result.attempt("wait for", PROGRAM),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.connection.end();
        if !self.ends_within(FAREWELL) {
            log::warn("criu does not give up and is killed");
            let _ = davit_sys::signals::send(self.pidfd.as_fd(), Signal::KILL.as_raw());
        }
        let _ = self.wait();
    }
}

impl Worker {
    fn ends_within(&self, limit: Duration) -> bool {
        is_readable_within(self.pidfd.as_fd(), limit).unwrap_or(false)
    }
}

/// The CPU time of a process and of its ended children, in ticks: fields 14 to 17 of /proc/PID/stat.
fn cpu_time(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

/// What the installed criu says that it is.
pub fn version() -> Result<Version, CriuError> {
    let setting = Setting {
        ends_with_us: true,
        ..Setting::default()
    };
    let request = CriuReq {
        r#type: CriuReqType::Version as i32,
        ..CriuReq::default()
    };
    let answer = Worker::start(&setting).and_then(|worker| worker.ask(&request));
    let version = answer.and_then(|answer| {
        answer
            .version()
            .ok_or_else(|| CriuError::Unexpected(format!("{answer:?}")))
    });
    version.map_err(|err| CriuError::NoVersion(Box::new(err)))
}

/// Refuses a criu that, with this kernel, lacks what is asked for.
pub fn check_features(wanted: &CriuFeatures) -> Result<(), CriuError> {
    let setting = Setting {
        ends_with_us: true,
        ..Setting::default()
    };
    let request = CriuReq {
        r#type: CriuReqType::FeatureCheck as i32,
        features: Some(*wanted),
        ..CriuReq::default()
    };
    let answer = Worker::start(&setting).and_then(|worker| worker.ask(&request));
    let has = answer
        .map_err(|err| CriuError::NoFeatures(Box::new(err)))?
        .features
        .unwrap_or_default();
    // A feature that criu does not know is one that it says nothing about, and its own check comes later.
    let lacks = |wanted: Option<bool>, has: Option<bool>| wanted == Some(true) && has == Some(false);
    if lacks(wanted.mem_track, has.mem_track) {
        return Err(CriuError::MissingFeatures("MemTrack"));
    }
    if lacks(wanted.lazy_pages, has.lazy_pages) {
        return Err(CriuError::MissingFeatures("LazyPages"));
    }
    Ok(())
}

fn failed(kind: CriuReqType, answer: &CriuResp) -> CriuError {
    CriuError::Failed {
        kind,
        errno: answer.cr_errno.unwrap_or(0),
    }
}

fn describe(status: &WaitIdStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", davit_sys::signals::describe(signal)),
        (None, None) => "ended".into(),
    }
}

/// The program in the search path of whoever called us, who decides which criu it is.
fn find(path: Option<OsString>) -> Option<PathBuf> {
    env::split_paths(&path?)
        .map(|folder| folder.join(PROGRAM))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
}

/// The child's side: returns only with the words of a failure.
fn become_criu(program: &Path, setting: &Setting, socket: &OwnedFd, go: OwnedFd) -> Result<Infallible, String> {
    let text = |err: CallError| err.to_string();
    davit_sys::signals::unblock_all()
        .attempt("unblock", "signals")
        .map_err(text)?;
    if setting.ends_with_us {
        set_parent_process_death_signal(Some(Signal::KILL))
            .attempt("follow", "the runtime")
            .map_err(text)?;
    }
    if let Some(cgroup) = setting.cgroup {
        // systemd makes the cgroup with us in it, and is asked by the runtime.
        if cgroup.adopts() && !matches!(File::from(go).read(&mut [0]), Ok(1)) {
            return Err("the runtime went away".into());
        }
        cgroup.join_self().map_err(|err| err.to_string())?;
    }
    if let Some(stage) = setting.stage {
        stage.build().map_err(|err| err.to_string())?;
    }
    if !setting.standard_streams {
        no_streams().map_err(text)?;
    }
    let passed: Vec<BorrowedFd> = std::iter::once(socket)
        .chain(&setting.passed)
        .map(AsFd::as_fd)
        .collect();
    davit_sys::fds::hand_down(SOCKET_FD, &passed)
        .attempt("pass on", "file descriptors")
        .map_err(text)?;
    let err = Command::new(program).arg("swrk").arg(SOCKET_FD.to_string()).exec();
    Err(format!("{}: {err}", program.display()))
}

fn no_streams() -> Result<(), CallError> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .attempt("open", "/dev/null")?;
    dup2_stdin(&null).attempt("set", "standard input")?;
    dup2_stdout(&null).attempt("set", "standard output")?;
    dup2_stderr(&null).attempt("set", "standard error")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

    use super::*;

    #[test]
    fn work_is_seen_in_the_cpu_time() {
        let me = std::process::id() as i32;
        let before = cpu_time(me);
        let begun = Instant::now();
        while cpu_time(me) == before {
            assert!(begun.elapsed() < Duration::from_secs(30));
        }
        assert_eq!(cpu_time(-1), 0);
    }

    #[test]
    fn criu_is_the_first_program_of_that_name_in_the_search_path() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        for place in [&first, &second] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("criu"), "").unwrap();
        }
        fs::set_permissions(second.join("criu"), fs::Permissions::from_mode(0o755)).unwrap();
        let path = env::join_paths([&first, &second]).unwrap();
        assert_eq!(find(Some(path)), Some(second.join("criu")));
        assert_eq!(find(Some(first.into_os_string())), None);
        assert_eq!(find(None), None);
    }
}
