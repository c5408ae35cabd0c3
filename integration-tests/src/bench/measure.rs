//! Timing commands in turns, and printing medians and ratios.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

/// A command under a name; the function makes the n-th one.
pub struct Candidate<'a> {
    /// As it stands in the table.
    pub name: &'static str,
    /// Makes the command of a round.
    pub command: Box<dyn Fn(usize) -> Command + 'a>,
}

/// Two rounds to warm up, then `rounds` measured ones, in each of which every candidate runs once.
pub fn compare(title: &str, rounds: usize, candidates: &[Candidate]) -> Result<()> {
    for (mode, pause) in [
        ("spaced by 150 ms", Duration::from_millis(150)),
        ("back to back", Duration::ZERO),
    ] {
        let mut times = vec![Vec::with_capacity(rounds); candidates.len()];
        for round in 0..rounds + 2 {
            for (candidate, times) in candidates.iter().zip(&mut times) {
                sleep(pause);
                let time = time((candidate.command)(round))?;
                if round >= 2 {
                    times.push(time);
                }
            }
        }
        print(&format!("{title}, {mode}, median of {rounds}"), candidates, times);
    }
    Ok(())
}

/// The largest resident set of a command or of a child that it has waited for, in kB, as the program `peak` sees it.
pub fn peak_memory(peak: &Path, command: &Command) -> Result<u64> {
    let mut measured = Command::new(peak);
    measured.arg(command.get_program()).args(command.get_args());
    let output = measured.stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{measured:?}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn time(mut command: Command) -> Result<Duration> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let begin = Instant::now();
    let output = command.spawn()?.wait_with_output()?;
    let took = begin.elapsed();
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

/// The first candidate is ours: the others' ratios are to it.
fn print(title: &str, candidates: &[Candidate], times: Vec<Vec<Duration>>) {
    println!("\n{title}");
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    for (candidate, median) in candidates.iter().zip(&medians) {
        println!(
            "  {:<28}{median:>9.2} ms   {:>6.2} x ours",
            candidate.name,
            median / medians[0]
        );
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
