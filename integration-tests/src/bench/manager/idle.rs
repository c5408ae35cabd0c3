//! What idle containers cost: memory, and the time until a manager that is started anew knows them all.

use std::{
    thread::scope,
    time::{Duration, Instant},
};

use anyhow::Result;
use davit_integration_tests::{Containerd, Manager, Scratch, sweep};

use super::{super::memory, Side};

/// With which the memory is measured.
const IDLE: usize = 100;
/// With which the restart is.
const MANY: usize = 300;
const WORKERS: usize = 8;

/// Measures both managers, and ends them.
pub fn measure(scratch: &Scratch, sides: &[Side], ours: Manager, theirs: Containerd) -> Result<()> {
    for side in sides {
        each(0..IDLE, |id| side.start_idle(id));
    }
    let processes = sweep::processes_of(scratch.path(), &[]);
    memory::print(
        &format!("memory with {IDLE} idle containers each"),
        &processes,
        sides.iter().flat_map(|side| [side.shim, side.name]),
    );
    for side in sides {
        each(IDLE..MANY, |id| side.start_idle(id));
    }
    println!("\nrestart with {MANY} containers, until `ctr tasks list` shows them all");
    ours.kill();
    let (ours, took) = restart(&sides[0], || Manager::start(scratch));
    println!("  {:<28}{:>9.0} ms", sides[0].name, took.as_secs_f64() * 1e3);
    theirs.kill();
    let (theirs, took) = restart(&sides[1], || Containerd::start_here(scratch));
    println!("  {:<28}{:>9.0} ms", sides[1].name, took.as_secs_f64() * 1e3);
    for side in sides {
        each(0..MANY, |id| side.remove(id));
    }
    ours.stop();
    theirs.stop();
    Ok(())
}

/// With the start of each `ctr` that asks.
fn restart<T>(side: &Side, start: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let manager = start();
    while side.running("idle-") < MANY {
        assert!(begin.elapsed() < Duration::from_secs(120), "tasks are missing");
    }
    (manager, begin.elapsed())
}

/// Does `work` with each of the ids, some at a time.
fn each(numbers: std::ops::Range<usize>, work: impl Fn(&str) + Sync) {
    scope(|scope| {
        for worker in 0..WORKERS {
            let (numbers, work) = (numbers.clone().skip(worker).step_by(WORKERS), &work);
            scope.spawn(move || numbers.for_each(|number| work(&format!("idle-{number}"))));
        }
    });
}
