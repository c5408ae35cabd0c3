//! One start of the machine, with a limit on its time.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{base::Base, plan::Boot};

/// What a machine may take: several times what it does on two idle cores, since others may be at work on them.
const LIMIT: Duration = Duration::from_secs(2700);

/// What the guest prints when it is about to power off.
const END: &str = "davit: the machine has come to its end";

/// Boots, shows what the guest prints, and returns what it reports.
pub fn run(base: &Base, programs: &Path, boot: Boot) -> Result<String> {
    let report = programs.with_extension("report");
    let mut machine = start(base, programs, &report, boot)?;
    let stdout = machine.0.stdout.take().context("stdout is a pipe")?;
    let reader = thread::spawn(move || show(stdout));
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = machine.0.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            bail!("the virtual machine was stopped after {} seconds", LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    };
    let ended = reader.join().expect("the reader does not panic");
    ensure!(status.success(), "qemu: {status}");
    ensure!(ended, "the virtual machine ended before its tests did");
    let text = fs::read_to_string(&report)?;
    fs::remove_file(report)?;
    Ok(text)
}

/// Ends with its owner, whatever happens.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // An ended one is collected already; both calls fail then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(base: &Base, programs: &Path, report: &Path, boot: Boot) -> Result<Machine> {
    let choice = match boot {
        Boot::Plain => "",
        Boot::Selinux => "security=selinux selinux=1",
        Boot::Hybrid => "systemd.unified_cgroup_hierarchy=0",
    };
    let drive = |path: &Path| format!("file={},format=raw,if=virtio,snapshot=on,cache=unsafe", path.display());
    // One thread for both processors: with one each, the guest's kernel has been seen to lock up while it patched its code.
    let child = Command::new("qemu-system-x86_64")
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
            "console=ttyS0 panic=-1 loglevel=2 systemd.show_status=0 systemd.unit=vm-tests.target {choice}"
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64")?;
    Ok(Machine(child))
}

/// Prints the guest's lines as they come; whether the last one was seen.
fn show(stdout: impl std::io::Read) -> bool {
    let mut ended = false;
    let mut lines = BufReader::new(stdout);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        ended |= text == END;
        println!("{text}");
        line.clear();
    }
    ended
}
