//! The restart monitor: keeps the tasks of labelled containers as their labels ask for, without any client.
//!
//! Its labels, and what they mean, are those of containerd's plugin of the same name. Where containerd looks at all
//! containers every ten seconds, this one hears the end of a task and starts it again after a pause that grows while it
//! keeps failing ([`backoff`]). It looks at all containers too, and first of all when the daemon starts: so it finds what
//! ended unheard, what was never started, and what shall be stopped.
//!
//! What it knows of a container is no more than when to look at it next, and how its task was heard to end. Each time it looks
//! it reads record and task anew, decides ([`labels`]) and acts ([`reconcile`]). A container that is gone by then, or has other
//! labels, is therefore left alone, and an event too many does no harm.
//!
//! A client makes a task first and starts it then. A task in between is its own: only one that two scans have met, or that was
//! half made here, counts as abandoned.
//!
//! # Crashes
//!
//! A restart removes the old task, makes the new one ([`anew`]), writes its number into the labels, unless they say something
//! else by now, and starts the task. A daemon that dies in between leaves a container whose task is missing, or made and not started; in both cases the next daemon
//! makes it anew. The policy `on-failure` needs to know how the task ended that is not there any more, and that this restart
//! is counted already. So both are written down before anything is done ([`unfinished`]), and the next daemon begins with
//! what is written there. A daemon that dies between the start and the end of this record may take the next restart for the
//! same one, and count one too few.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use davit_containerd_api::{
    any,
    events::{ContainerDelete, ContainerUpdate, TaskExit},
    types::Envelope,
};
use davit_vocabulary::{ContainerId, Namespace};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::Daemon,
    events::{EventBus, SubscriptionEnd},
};

mod anew;
mod backoff;
mod labels;
mod reconcile;
mod unfinished;

pub use labels::POLICIES;

use backoff::Backoff;
use labels::Wish;
use reconcile::{Known, Outcome, Reconciler, Scan};

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    namespace: Namespace,
    id: ContainerId,
}

impl Key {
    /// `None` where the id is none.
    fn of(namespace: &Namespace, id: &str) -> Option<Self> {
        Some(Self {
            namespace: namespace.clone(),
            id: id.parse().ok()?,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.as_str(), self.id.as_str())
    }
}

/// The monitor; [`Monitor::run`] is its life.
pub struct Monitor {
    reconciler: Arc<Reconciler>,
    events: EventBus,
    interval: Duration,
    stop: CancellationToken,
    looked_after: HashMap<Key, Container>,
    work: JoinSet<Finished>,
    is_scanning: bool,
    /// The tasks that the last scan met made and not started.
    not_started: HashMap<Key, u32>,
}

/// What is known of a container beyond its record and its task. Nothing is lost with it but the pause.
struct Container {
    backoff: Backoff,
    /// At most one thing is done with a container at a time.
    job: Option<Job>,
}

/// The next look at a container, which waits for its moment or is under way.
struct Job {
    known: Known,
    /// Ends the waiting.
    dropped: CancellationToken,
    /// How a task ended meanwhile, so that another look is needed.
    again: Option<u32>,
}

/// Work that has come to its end.
enum Finished {
    Scan(Scan),
    Job(Key, Outcome),
}

impl Monitor {
    /// The monitor of this daemon, which looks at all containers at this interval.
    pub fn new(daemon: &Daemon, interval: Duration) -> Self {
        Self {
            reconciler: Arc::new(Reconciler::new(daemon)),
            events: daemon.events.clone(),
            interval,
            stop: daemon.stop.clone(),
            looked_after: HashMap::new(),
            work: JoinSet::new(),
            is_scanning: false,
            not_started: HashMap::new(),
        }
    }

    /// Works until the daemon stops, and then ends what it is about to do.
    pub async fn run(mut self) {
        let mut events = self.events.subscribe();
        let mut scans = tokio::time::interval(self.interval);
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for key in self.reconciler.unfinished.list() {
            self.look_after_pause(key, Known::default());
        }
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                _ = scans.tick() => self.scan(),
                event = events.next() => match event {
                    Ok(event) => self.hear(&event),
                    Err(SubscriptionEnd::TooSlow(lost)) => {
                        tracing::warn!(lost, "restart monitor is too slow");
                        events = self.events.subscribe();
                        self.scan();
                    }
                    Err(SubscriptionEnd::Closed) => break,
                },
                Some(finished) = self.work.join_next() => self.finish(finished.expect("a panic is caught before")),
            }
        }
        while self.work.join_next().await.is_some() {}
    }

    fn scan(&mut self) {
        if !self.is_scanning {
            self.is_scanning = true;
            let (reconciler, before) = (self.reconciler.clone(), mem::take(&mut self.not_started));
            let scan = async move { reconciler.scan(before).await };
            self.work
                .spawn(async move { Finished::Scan(or_after_a_panic(Scan::default(), scan).await) });
        }
    }

    fn hear(&mut self, envelope: &Envelope) {
        let (Some(event), Ok(namespace)) = (&envelope.event, envelope.namespace.parse::<Namespace>()) else {
            return;
        };
        let key = |id: &str| Key::of(&namespace, id);
        if let Some(Ok(exit)) = any::unpack::<TaskExit>(event) {
            // An additional process has an id of its own.
            if let Some(key) = key(&exit.container_id).filter(|_| exit.id == exit.container_id) {
                self.hear_end(key, exit.exit_status);
            }
        } else if let Some(Ok(update)) = any::unpack::<ContainerUpdate>(event) {
            if let Some(key) = key(&update.id).filter(|_| !labels::may_start(&update.labels.into_iter().collect())) {
                self.forget(&key);
            }
        } else if let Some(Ok(delete)) = any::unpack::<ContainerDelete>(event)
            && let Some(key) = key(&delete.id)
        {
            self.forget(&key);
        }
    }

    fn hear_end(&mut self, key: Key, exit_status: u32) {
        let container = self.looked_after.entry(key.clone()).or_insert_with(Container::new);
        match &mut container.job {
            Some(job) => job.again = Some(exit_status),
            None => self.look_after_pause(key, Known::heard(exit_status)),
        }
    }

    /// Has a container looked at after the pause that is due before a restart.
    fn look_after_pause(&mut self, key: Key, known: Known) {
        let container = self.looked_after.entry(key.clone()).or_insert_with(Container::new);
        let pause = container.backoff.pause(Instant::now());
        self.look(key, known, pause);
    }

    fn look(&mut self, key: Key, known: Known, pause: Duration) {
        let dropped = CancellationToken::new();
        let container = self.looked_after.entry(key.clone()).or_insert_with(Container::new);
        container.job = Some(Job {
            known,
            dropped: dropped.clone(),
            again: None,
        });
        let (reconciler, stop, of) = (self.reconciler.clone(), self.stop.clone(), key.clone());
        let look = async move {
            tracing::debug!(container = %key, ?pause, "container is looked at after a pause");
            let due = async {
                dropped.run_until_cancelled(tokio::time::sleep(pause)).await;
                reconciler.has_returned(&key).await;
            };
            match stop.run_until_cancelled(due).await {
                Some(()) => reconciler.reconcile(&key, known).await,
                None => Outcome::Settled,
            }
        };
        self.work
            .spawn(async move { Finished::Job(of, or_after_a_panic(Outcome::Failed, look).await) });
    }

    /// Gives up the restart that is waited for, and what is known of those before: there is a last look, at once, that puts an
    /// end to what was begun.
    fn forget(&mut self, key: &Key) {
        match self.looked_after.get(key) {
            Some(Container { job: Some(job), .. }) => job.dropped.cancel(),
            _ => drop(self.looked_after.remove(key)),
        }
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Scan(scan) => {
                self.is_scanning = false;
                self.not_started = scan.not_started;
                let now = Instant::now();
                self.looked_after
                    .retain(|_, container| container.job.is_some() || !container.backoff.is_over(now));
                for (key, known, wish) in scan.wishes {
                    self.act(key, known, wish);
                }
            }
            Finished::Job(key, outcome) => self.finish_job(key, outcome),
        }
    }

    /// Does what a scan has found to do, unless something is done for this container already.
    fn act(&mut self, key: Key, known: Known, wish: Wish) {
        let is_busy = self
            .looked_after
            .get(&key)
            .is_some_and(|container| container.job.is_some());
        match wish {
            _ if is_busy => {}
            Wish::Nothing => {}
            Wish::Start(_) => self.look_after_pause(key, known),
            Wish::Stop | Wish::Wait => self.look(key, known, Duration::ZERO),
        }
    }

    fn finish_job(&mut self, key: Key, outcome: Outcome) {
        let Some(container) = self.looked_after.get_mut(&key) else {
            return;
        };
        let Some(job) = container.job.take() else { return };
        if outcome != Outcome::Settled {
            container.backoff.started(Instant::now());
        }
        if job.dropped.is_cancelled() {
            self.looked_after.remove(&key);
        }
        if let Some(known) = job.known.after(outcome, job.again) {
            self.look_after_pause(key, known);
        }
    }
}

/// A panic ends the work that panics, and nothing else.
async fn or_after_a_panic<T: Send + 'static>(instead: T, work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "restart monitor");
        instead
    })
}

impl Container {
    fn new() -> Self {
        Self {
            backoff: Backoff::new(),
            job: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_no_more_than_its_own_work() {
        assert_eq!(or_after_a_panic(1, async { 2 }).await, 2);
        assert_eq!(or_after_a_panic(1, async { panic!("a test's own") }).await, 1);
    }
}
