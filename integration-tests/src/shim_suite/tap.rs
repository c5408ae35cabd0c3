//! Running cases and saying how they went, in the Test Anything Protocol, version 14.

use std::{
    collections::HashMap,
    io::{self, Write},
    panic,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
    time::Duration,
};

use crate::{
    cases::Case,
    world::{Subject, World},
};

/// How long a case may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What the threads have said in their panics.
static SAID: Mutex<Option<HashMap<ThreadId, String>>> = Mutex::new(None);

/// Why a case was skipped.
pub type Skipped = Arc<Mutex<Option<String>>>;

/// Runs the cases one after the other; whether all have passed.
pub async fn run(subject: Subject, cases: Vec<Case>) -> bool {
    keep_what_panics_say();
    let mut out = io::stdout();
    let mut say = move |line: String| {
        // Whoever reads may go; the exit code still tells.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    say("TAP version 14".into());
    say(format!("1..{}", cases.len()));
    let mut passed = true;
    for (index, case) in cases.into_iter().enumerate() {
        let number = index + 1;
        let outcome = one(subject.clone(), &case).await;
        match &outcome {
            Ok(None) => say(format!("ok {number} - {}", case.name)),
            Ok(Some(reason)) => say(format!("ok {number} - {} # SKIP {reason}", case.name)),
            Err(why) => {
                say(format!("not ok {number} - {}", case.name));
                why.lines().for_each(|line| say(format!("# {line}")));
            }
        }
        passed &= outcome.is_ok();
    }
    passed
}

/// A thread for each case: where it panics, the panic is that thread's. Returns why it was skipped, if it was.
async fn one(subject: Subject, case: &Case) -> Result<Option<String>, String> {
    let run = case.run;
    let skipped = Skipped::default();
    let noting = skipped.clone();
    let handle = tokio::runtime::Handle::current();
    let thread = thread::spawn(move || {
        handle.block_on(async {
            let world = World::new(subject, noting).await;
            tokio::time::timeout(LIMIT, run(world)).await
        })
    });
    let id = thread.thread().id();
    let joined = tokio::task::spawn_blocking(|| thread.join()).await;
    match joined.expect("joining a thread does not panic") {
        Ok(Ok(())) => Ok(skipped.lock().unwrap_or_else(PoisonError::into_inner).take()),
        Ok(Err(_)) => Err(format!("not within {} s", LIMIT.as_secs())),
        Err(_) => Err(said_by(id)),
    }
}

fn keep_what_panics_say() {
    panic::set_hook(Box::new(|panic| {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.get_or_insert_default();
        said.entry(thread::current().id())
            .or_default()
            .push_str(&panic.to_string());
    }));
}

fn said_by(thread: ThreadId) -> String {
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.get_or_insert_default().remove(&thread).unwrap_or_default()
}
