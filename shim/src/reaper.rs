//! The only place where children are waited for.
//!
//! The shim is a subreaper: its children are the runtimes and loggers that it starts, the processes of the container (whose
//! parent, the runtime, has gone), and orphans out of the container. One loop waits for all of them on SIGCHLD. Nothing else in
//! this program may wait: not `std::process::Child::wait`, not tokio's process module.
//!
//! Three races, and why they cannot hurt:
//!
//! - *A child that dies before anybody asks for it.* The program runs on one thread, so the loop cannot run between
//!   [`Reaper::spawn`]'s fork and its entry in the table: a child of our own is always known. The pid of a container's process is
//!   known only when the runtime has gone. Whoever calls a runtime holds a [`Births`] meanwhile, which keeps the exits of all
//!   pids that are in no table; [`Births::adopt`] finds it there.
//! - *A pid that is used again.* A pid stays taken until we have waited for it, so a pid in the table cannot be another process.
//!   An exit that a `Births` has kept may belong to a stranger whose pid the new process got afterwards. Then the new process
//!   is still our child, alive or a zombie, and that decides.
//! - *A signal for a process that has just ended.* Signals are sent on the same thread as the waiting, and only to processes
//!   whose exit has not been taken from the table; at worst the signal meets a zombie.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time,
};

use crate::exit::Exit;

/// Becomes the exit of one process.
pub type ExitReceiver = oneshot::Receiver<Exit>;

/// The table of children.
#[derive(Debug, Default)]
pub struct Reaper {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<u32, oneshot::Sender<Exit>>,
    births: HashMap<u64, HashMap<u32, Exit>>,
    next_birth: u64,
    /// Children that are asked to end, and when they are made to.
    ending: HashMap<u32, Instant>,
}

/// Keeps the exits of unknown children while a runtime brings a process to life.
#[derive(Debug)]
pub struct Births {
    reaper: Arc<Reaper>,
    number: u64,
}

impl Reaper {
    /// Starts a child. The returned [`Child`] gives its pipes and its pid; it must not be waited for.
    pub fn spawn(&self, command: &mut Command) -> io::Result<(Child, ExitReceiver)> {
        let child = command.spawn()?;
        let receiver = self.table().watch(child.id());
        Ok((child, receiver))
    }

    /// Watches a child that an earlier program in this process has started, or taken over.
    pub fn watch(&self, pid: u32) -> ExitReceiver {
        self.table().watch(pid)
    }

    /// Whether the end of a child is still to come, or has not been looked at.
    pub fn is_watched(&self, pid: u32) -> bool {
        self.table().known.contains_key(&pid)
    }

    /// Lets a child end: asks it to, and makes it after `grace`.
    pub fn end(self: &Arc<Self>, pid: u32, exit: ExitReceiver, grace: Duration) {
        send_signal(pid, Signal::TERM);
        self.end_within(pid, exit, grace);
    }

    /// Goes on with children that another program of ours has asked to end: pid, and how many milliseconds each has left.
    pub fn go_on_ending(self: &Arc<Self>, children: Vec<(u32, u64)>) {
        for (pid, left) in children {
            let exit = self.watch(pid);
            self.end_within(pid, exit, Duration::from_millis(left));
        }
    }

    fn end_within(self: &Arc<Self>, pid: u32, exit: ExitReceiver, grace: Duration) {
        self.table().ending.insert(pid, Instant::now() + grace);
        let reaper = self.clone();
        tokio::spawn(async move {
            if time::timeout(grace, exit).await.is_err() {
                send_signal(pid, Signal::KILL);
            }
            reaper.table().ending.remove(&pid);
        });
    }

    /// The children that are asked to end, and how long each has left.
    pub fn ending(&self) -> BTreeMap<u32, Duration> {
        let now = Instant::now();
        let table = self.table();
        let ending = table.ending.iter().filter(|(pid, _)| table.known.contains_key(pid));
        ending
            .map(|(pid, at)| (*pid, at.saturating_duration_since(now)))
            .collect()
    }

    /// Begins to keep the exits of unknown children.
    pub fn births(self: &Arc<Self>) -> Births {
        let mut table = self.table();
        let number = table.next_birth;
        table.next_birth += 1;
        table.births.insert(number, HashMap::new());
        Births {
            reaper: self.clone(),
            number,
        }
    }

    /// Waits for children until the program ends.
    pub async fn run(self: Arc<Self>) -> io::Result<()> {
        let mut signals = signal(SignalKind::child())?;
        loop {
            self.reap();
            signals.recv().await;
        }
    }

    fn reap(&self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(exit) = Exit::from_wait(status) {
                self.table().ended(pid.as_raw_nonzero().get() as u32, exit);
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn watch(&mut self, pid: u32) -> ExitReceiver {
        let (sender, receiver) = oneshot::channel();
        self.known.insert(pid, sender);
        receiver
    }

    fn ended(&mut self, pid: u32, exit: Exit) {
        match self.known.remove(&pid) {
            // Whoever asked may have gone meanwhile.
            Some(sender) => drop(sender.send(exit)),
            None => {
                for kept in self.births.values_mut() {
                    kept.insert(pid, exit);
                }
            }
        }
    }
}

impl Births {
    /// Takes over a process that the runtime has left to us.
    pub fn adopt(&self, pid: u32) -> ExitReceiver {
        let mut table = self.reaper.table();
        let kept = table.births.get_mut(&self.number).and_then(|kept| kept.remove(&pid));
        match kept {
            Some(exit) if !is_our_child(pid) => {
                let (sender, receiver) = oneshot::channel();
                // The receiver is in our hands.
                let _ = sender.send(exit);
                receiver
            }
            _ => table.watch(pid),
        }
    }
}

impl Drop for Births {
    fn drop(&mut self) {
        self.reaper.table().births.remove(&self.number);
    }
}

fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // Its pid is taken until its end has been seen; it may be a zombie.
        let _ = kill_process(pid, signal);
    }
}

fn is_our_child(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name in parentheses may hold anything: parentheses, and bytes that are no text.
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let parent = after_name.split_whitespace().nth(1).and_then(|text| text.parse().ok());
    parent == Some(Pid::as_raw(Some(rustix::process::getpid())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_before_the_adoption_is_kept_only_while_a_birth_is_under_way() {
        let reaper = Arc::new(Reaper::default());
        let exit = Exit::now(3);
        // A pid beyond the kernel's largest: nobody's.
        let pid = 1 << 30;
        reaper.table().ended(pid, exit);
        let births = reaper.births();
        assert!(births.adopt(pid).try_recv().is_err());
        reaper.table().known.clear();
        reaper.table().ended(pid, exit);
        assert_eq!(births.adopt(pid).try_recv(), Ok(exit));
        drop(births);
        assert!(reaper.table().births.is_empty());
    }

    #[test]
    fn a_kept_exit_of_a_stranger_is_not_taken_for_the_new_process_with_its_pid() {
        let reaper = Arc::new(Reaper::default());
        let births = reaper.births();
        let mut child = Command::new("/bin/sleep").arg("10").spawn().unwrap();
        reaper.table().ended(child.id(), Exit::now(9));
        let mut receiver = births.adopt(child.id());
        assert!(receiver.try_recv().is_err());
        reaper.table().ended(child.id(), Exit::now(4));
        assert_eq!(receiver.try_recv().unwrap().status, 4);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
