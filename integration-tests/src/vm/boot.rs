//! Starts of the machine, each with a limit on its time.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{base::Base, plan::Boot};

/// What a machine may take: several times what it does on two idle cores, since others may be at work on them.
const LIMIT: Duration = Duration::from_secs(2700);

/// What the guest prints when it is about to power off.
const END: &str = "davit: the machine has come to its end";

/// Starts the machines and returns what their guests report: as many at a time as there are processors, since each is emulated by
/// one thread. When one has failed no further one is started, and all that failed are named.
pub fn all(base: &Base, programs: &Path, boots: &[Boot]) -> Result<Vec<String>> {
    let left = Mutex::new(boots.iter().copied());
    let console = Console::default();
    let lane = || {
        let mut results = Vec::new();
        while let Some(boot) = next(&left) {
            let result = run(base, programs, boot, &console).with_context(|| boot.describe());
            if result.is_err() {
                while next(&left).is_some() {}
            }
            results.push(result);
        }
        results
    };
    let count = thread::available_parallelism()?.get();
    let results: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..count).map(|_| scope.spawn(lane)).collect();
        let results = lanes
            .into_iter()
            .map(|lane| lane.join().expect("a lane does not panic"));
        results.flatten().collect()
    });
    console.show_missed();
    let (reports, failures): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let failures: Vec<_> = failures.into_iter().filter_map(Result::err).collect();
    match failures.is_empty() {
        true => Ok(reports.into_iter().flatten().collect()),
        false => bail!(
            "{}",
            failures
                .iter()
                .map(|failure| format!("{failure:#}"))
                .collect::<Vec<_>>()
                .join("\n")
        ),
    }
}

fn next(left: &Mutex<impl Iterator<Item = Boot>>) -> Option<Boot> {
    left.lock().expect("no holder panics").next()
}

/// Boots, shows what the guest prints, and returns what it reports.
fn run(base: &Base, programs: &Path, boot: Boot, console: &Console) -> Result<String> {
    let report = programs.with_extension(format!("{boot:?}.report"));
    let mut machine = start(base, programs, &report, boot)?;
    let stdout = machine.0.stdout.take().context("stdout is a pipe")?;
    let (status, ended) = thread::scope(|scope| -> Result<_> {
        let reader = scope.spawn(|| show(stdout, boot, console));
        // Owned in here: the reader is waited for when this is left, and it reads until the machine ends.
        let mut machine = machine;
        let status = machine.wait_until(Instant::now() + LIMIT)?;
        Ok((status, reader.join().expect("the reader does not panic")))
    })?;
    ensure!(status.success(), "qemu: {status}");
    ensure!(ended, "the virtual machine ended before its tests did");
    let text = fs::read_to_string(&report)?;
    fs::remove_file(report)?;
    Ok(text)
}

/// Ends with its owner, whatever happens.
struct Machine(Child);

impl Machine {
    /// The exit status; a machine that does not come to its end in time is stopped.
    fn wait_until(&mut self, deadline: Instant) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the virtual machine was stopped after {} seconds", LIMIT.as_secs());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // An ended one is collected already; both calls fail then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(base: &Base, programs: &Path, report: &Path, boot: Boot) -> Result<Machine> {
    let choice = match boot {
        Boot::Plain | Boot::Again | Boot::Systemd => "",
        Boot::Selinux => "security=selinux selinux=1",
        Boot::Hybrid => "systemd.unified_cgroup_hierarchy=0",
    };
    let drive = |path: &Path| format!("file={},format=raw,if=virtio,snapshot=on,cache=unsafe", path.display());
    // One thread for both processors: with one each, the guest's kernel has been seen to lock up while it patched its code.
    // A machine of a run that was killed would take a processor from the next.
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "2G"])
        .args(["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-serial"])
        .arg(format!("file:{}", report.display()))
        .args(["-drive", &drive(&base.root()), "-drive", &drive(programs)])
        .arg("-kernel")
        .arg(base.kernel())
        .arg("-initrd")
        .arg(base.initrd())
        .arg("-append")
        .arg(format!(
            "console=ttyS0 panic=-1 loglevel=2 systemd.show_status=0 systemd.unit=vm-tests.target davit.boot={} {choice}",
            boot.name()
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64")?;
    Ok(Machine(child))
}

/// Where one machine at a time is seen: they do not talk into each other.
#[derive(Default)]
struct Console {
    turn: Mutex<()>,
    /// What machines printed that had ended before it was their turn.
    missed: Mutex<Vec<String>>,
}

impl Console {
    fn show_missed(&self) {
        print(&mut self.missed.lock().expect("no holder panics"));
    }
}

/// Prints the guest's lines as they come, from its turn on; whether the last one was seen.
fn show(stdout: impl Read, boot: Boot, console: &Console) -> bool {
    let mut kept = vec![format!("==> a virtual machine with {}", boot.describe())];
    let mut turn = None;
    let mut ended = false;
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        turn = turn.or_else(|| console.turn.try_lock().ok());
        if turn.is_some() {
            print(&mut kept);
        }
        line.clear();
        if !lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            break;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        ended |= text == END;
        kept.push(text);
    }
    match turn {
        Some(_) => console.show_missed(),
        None => console.missed.lock().expect("no holder panics").append(&mut kept),
    }
    ended
}

fn print(lines: &mut Vec<String>) {
    for line in lines.drain(..) {
        println!("{line}");
    }
}
