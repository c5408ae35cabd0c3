//! `cargo xtask quickstart`: the whole promise in one minute, on a machine that has nothing but cargo.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use davit_integration_tests::{Engine, Scratch, image, packages, sweep, workspace};

/// Builds, runs, kills and cleans up, and says what it does. Whatever happens, nothing stays behind.
pub fn run() -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    step("building release binaries");
    let programs = workspace::build(workspace::Profile::Release)?;
    println!("    {}", programs.display());
    let _cgroups = sweep::TopCgroups::now();
    let scratch = Scratch::with_programs(&programs);
    step("starting davitd");
    let engine = Engine::start(&scratch);
    let davit = Davit {
        program: programs.join("davit"),
        socket: engine.socket().to_owned(),
    };

    step("making an image from Debian's busybox-static");
    let archive = scratch.join("busybox.tar");
    image::busybox_tar(&archive)?;
    davit.show(&["import", path(&archive)?, "busybox"])?;
    step("running a container");
    davit.show(&["run", "--rm", "busybox", "echo", "hello from a container"])?;

    step("starting a container that counts, then killing both daemons with SIGKILL");
    davit.show(&[
        "run",
        "-d",
        "--name",
        "counter",
        "busybox",
        "sh",
        "-c",
        "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done",
    ])?;
    sleep(Duration::from_secs(1));
    let before = davit.last_line("counter")?;
    println!("    it has counted to {before}");
    let manager = engine.manager_pid(&scratch);
    println!(
        "    kill -9 {} (davitd), kill -9 {manager} (davit-containerd)",
        engine.pid()
    );
    engine.kill();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(manager as i32),
        nix::sys::signal::Signal::SIGKILL,
    )?;
    sleep(Duration::from_secs(2));
    step("starting davitd again");
    let engine = Engine::start(&scratch);
    davit.show(&["ps"])?;
    let after = davit.last_line("counter")?;
    println!("    it has counted to {after}");
    ensure!(
        after >= before + 15,
        "the container did not count on while the daemons were dead: {before}, then {after}"
    );
    davit.every_number_up_to("counter", after)?;
    println!("    every number is in its log: it never noticed");

    step("cleaning up");
    davit.show(&["rm", "--force", "counter"])?;
    engine.stop();
    drop(scratch);
    println!("    nothing is left behind");
    Ok(())
}

fn step(what: &str) {
    println!("==> {what}");
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the scratch path is ASCII")
}

/// The command line, on the quickstart's own engine.
struct Davit {
    program: PathBuf,
    socket: PathBuf,
}

impl Davit {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket.display()))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command before the user's eyes.
    fn show(&self, arguments: &[&str]) -> Result<()> {
        println!("    $ davit {}", arguments.join(" "));
        workspace::run(&mut self.command(arguments))
    }

    fn log(&self, container: &str) -> Result<Vec<u64>> {
        let output = self.command(&["logs", container]).output()?;
        ensure!(
            output.status.success(),
            "davit logs: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        text.lines()
            .map(|line| {
                line.parse()
                    .with_context(|| format!("not a number in the log: {line:?}"))
            })
            .collect()
    }

    fn last_line(&self, container: &str) -> Result<u64> {
        self.log(container)?.pop().context("the container's log is empty")
    }

    fn every_number_up_to(&self, container: &str, last: u64) -> Result<()> {
        let log = self.log(container)?;
        match (1..=last).zip(&log).find(|(expected, found)| expected != *found) {
            Some((expected, found)) => bail!("the log holds {found} where {expected} belongs"),
            None => Ok(()),
        }
    }
}
