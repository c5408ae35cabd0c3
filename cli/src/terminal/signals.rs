//! Signals that this program gets and a container should have.

use std::{collections::VecDeque, convert::Infallible, fmt, future};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, LocalBoxFuture},
    stream::FuturesUnordered,
};
use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    client::{Client, encode},
    command_error::CommandError,
};

/// What is forwarded: all that a user or a supervisor sends, none of the kernel's about this process itself.
const FORWARDED: &[(i32, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (10, "USR1"),
    (12, "USR2"),
    (14, "ALRM"),
    (15, "TERM"),
    (18, "CONT"),
    (20, "TSTP"),
];

/// What asks this program to end.
const ENDING: &[i32] = &[1, 2, 15];

/// How often this program is asked to end before it waits no longer for an engine that does not answer; Docker's gives up
/// after as many.
const PATIENCE: usize = 3;

/// A signal's number and the name by which the engine knows it.
type Forwarded = (i32, &'static str);

/// The signals of a container. From the moment this is made none of them ends this program.
pub struct Signals {
    /// Where they go.
    path: String,
    arriving: Arriving<Forwarded>,
    /// What came while there was no process to have it.
    kept: VecDeque<Forwarded>,
    /// What is on its way. Whoever waits for something else with the next signals goes on with this one.
    sending: Option<LocalBoxFuture<'static, ()>>,
}

impl Signals {
    /// Takes them, before the container starts: what it says may reach somebody who sends a signal at once, while the
    /// engine's answer is still on its way.
    pub fn take(container: &str) -> Self {
        Self {
            path: format!("/containers/{}/kill", encode(container)),
            arriving: Arriving::of(FORWARDED.iter().map(|&signal| (signal.0, signal))),
            kept: VecDeque::new(),
            sending: None,
        }
    }

    /// Keeps them while the container starts.
    pub async fn kept_while<T>(
        &mut self,
        starting: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            biased;
            started = starting => started,
            error = out_of_patience() => Err(error),
            never = self.keep() => match never {},
        }
    }

    /// Forwards them while the end of the container is waited for.
    pub async fn forwarded_while<T>(
        &mut self,
        client: &Client,
        ending: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            biased;
            ended = ending => ended,
            error = out_of_patience() => Err(error),
            never = self.forward(client) => match never {},
        }
    }

    /// Of a kind that comes again only the last counts, as with the kernel: whoever is stopped and continued runs.
    async fn keep(&mut self) -> Infallible {
        loop {
            let signal = self.arriving.next().await;
            self.kept.retain(|kept| *kept != signal);
            self.kept.push_back(signal);
        }
    }

    /// Forwards them to the container. None is lost when this is dropped and called again.
    pub async fn forward(&mut self, client: &Client) -> Infallible {
        loop {
            if let Some(sending) = &mut self.sending {
                sending.await;
                self.sending = None;
            }
            let signal = match self.kept.pop_front() {
                Some(kept) => kept,
                None => self.arriving.next().await,
            };
            self.sending = Some(self.send(client, signal));
        }
    }

    fn send(&self, client: &Client, (_, name): Forwarded) -> LocalBoxFuture<'static, ()> {
        let (client, path) = (client.clone(), self.path.clone());
        async move {
            // A container that ended misses the signal; `run` reports its end anyway.
            let _ = client.request(Method::POST, &path, &[("signal", name)]).await;
        }
        .boxed_local()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("path", &self.path)
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}

/// The number of the first signal that asks this program to end.
pub async fn last_one() -> i32 {
    ending().next().await
}

async fn out_of_patience() -> CommandError {
    let mut ending = ending();
    for _ in 0..PATIENCE {
        ending.next().await;
    }
    CommandError::user(format!("asked {PATIENCE} times to end while the engine did not answer"))
        .hint("`davit ps -a` tells what became of the container")
}

fn ending() -> Arriving<i32> {
    Arriving::of(ENDING.iter().map(|&number| (number, number)))
}

/// Signals that are listened to, each with what it means here, in the order in which they come.
#[derive(Debug)]
struct Arriving<T>(FuturesUnordered<BoxFuture<'static, (Signal, T)>>);

impl<T: Copy + Send + 'static> Arriving<T> {
    /// Listens to these numbers, as far as the kernel lets one.
    fn of(numbers: impl Iterator<Item = (i32, T)>) -> Self {
        let listen = |number| signal(SignalKind::from_raw(number)).ok();
        let listening = numbers.filter_map(|(number, meaning)| Some(wait(listen(number)?, meaning)));
        Self(listening.collect())
    }

    async fn next(&mut self) -> T {
        match self.0.next().await {
            Some((signal, meaning)) => {
                self.0.push(wait(signal, meaning));
                meaning
            }
            None => future::pending().await,
        }
    }
}

fn wait<T: Copy + Send + 'static>(mut signal: Signal, meaning: T) -> BoxFuture<'static, (Signal, T)> {
    async move {
        match signal.recv().await {
            Some(()) => (signal, meaning),
            None => future::pending().await,
        }
    }
    .boxed()
}
