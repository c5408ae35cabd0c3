//! The manager, or a shim, is killed at each of its steps; what a user sees then is whole, and nothing is left.
//!
//! The steps are the fail points of the source, which a debug build obeys. A driver says how one comes to the steps of a kind; each
//! step belongs to the drivers with the longest beginning of its name, and fails where it has none, or is not reached.

mod calls;
mod case;
mod checkpoints;
mod records;

mod of_the_manager;
mod of_the_shim;

mod told;
mod under_containerd;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use davit_integration_tests::workspace;

/// How many worlds there are at the same time.
const WORLDS: usize = 4;

/// A way to the steps whose names begin so.
type Driver<C> = (&'static str, fn(&mut C));

/// A step, and a way to it.
type Job<C> = (String, fn(&mut C));

/// Gives the next job and its number.
type Next<'a, J> = &'a mut dyn FnMut() -> Option<(usize, J)>;

/// The names in the source of these folders that begin with `prefix`.
fn fail_points(folders: &[&str], prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in folders {
        find_in(&workspace::root().join(folder), &mut found);
    }
    found.retain(|point| point.starts_with(prefix));
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "no fail point {prefix}");
    found
}

fn find_in(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the source is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("the source is text");
            let names = text.split("fail_point::reach(\"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

/// Each point with each of its drivers.
fn jobs<C>(points: Vec<String>, drivers: &[Driver<C>]) -> Vec<Job<C>> {
    let of_point = |point: String| {
        let matching = drivers.iter().filter(|(prefix, _)| point.starts_with(prefix));
        let longest = matching.clone().map(|(prefix, _)| prefix.len()).max();
        let longest = longest.unwrap_or_else(|| panic!("nothing leads to the fail point {point}"));
        let jobs: Vec<_> = matching
            .filter(|(prefix, _)| prefix.len() == longest)
            .map(|(_, drive)| (point.clone(), *drive))
            .collect();
        jobs
    };
    points.into_iter().flat_map(of_point).collect()
}

/// Does the jobs, each of some workers in a world of its own. Where one fails, the others are done all the same.
fn share_out<J: Send>(jobs: Vec<J>, work: impl Fn(Next<'_, J>) + Sync) {
    let jobs = Mutex::new(jobs.into_iter().enumerate());
    let next = || jobs.lock().expect("no panic while it is held").next();
    let failures = AtomicUsize::new(0);
    let worker = || {
        let mut next = next;
        while panic::catch_unwind(AssertUnwindSafe(|| work(&mut next))).is_err() {
            failures.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| (0..WORLDS).for_each(|_| drop(scope.spawn(worker))));
    assert_eq!(failures.into_inner(), 0, "steps failed; each has told of itself");
}
