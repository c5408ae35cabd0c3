//! Signals that this program gets and a container should have.

use std::{future, mem, pin::pin, task::Poll};

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

/// How often this program is asked to end before it gives up what it still has to wait for: what Docker's does.
const PATIENCE: usize = 3;

/// A signal's number and the name by which the engine knows it.
type Forwarded = (i32, &'static str);

/// The signals of a container. From the moment this is made none of them ends this program.
#[derive(Debug)]
pub struct Signals {
    arriving: Arriving<Forwarded>,
    kept: Vec<Forwarded>,
}

impl Signals {
    /// Takes them, before the container starts: what it says may reach somebody who sends a signal at once, while the
    /// engine's answer is still on its way.
    pub fn take() -> Self {
        Self {
            arriving: Arriving::of(FORWARDED.iter().map(|&signal| (signal.0, signal))),
            kept: Vec::new(),
        }
    }

    /// Waits for what makes the container able to have them, and keeps one of each kind until then.
    pub async fn kept_while<T>(
        &mut self,
        starting: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let mut starting = pin!(starting);
        let mut endings = 0;
        while endings < PATIENCE {
            tokio::select! {
                biased;
                started = &mut starting => return started,
                signal = self.arriving.next() => {
                    endings += usize::from(ENDING.contains(&signal.0));
                    if !self.kept.contains(&signal) {
                        self.kept.push(signal);
                    }
                }
            }
        }
        let text = format!("asked {PATIENCE} times to end while the container was starting");
        Err(CommandError::user(text).hint("`davit ps -a` tells what became of it"))
    }

    /// Forwards them to a container. Never ends; drop it.
    pub async fn forward(mut self, client: &Client, container: &str) {
        let path = format!("/containers/{}/kill", encode(container));
        let send = async |(_, name): Forwarded| {
            // A container that ended misses the signal; `run` reports its end anyway.
            let _ = client.request(Method::POST, &path, &[("signal", name)]).await;
        };
        for signal in mem::take(&mut self.kept) {
            send(signal).await;
        }
        loop {
            send(self.arriving.next().await).await;
        }
    }
}

/// The number of the first signal that asks this program to end.
pub async fn last_one() -> i32 {
    Arriving::of(ENDING.iter().map(|&number| (number, number))).next().await
}

/// Signals that are listened to, each with what it means here.
#[derive(Debug)]
struct Arriving<T>(Vec<(Signal, T)>);

impl<T: Copy> Arriving<T> {
    /// Listens to these numbers, as far as the kernel lets one.
    fn of(numbers: impl Iterator<Item = (i32, T)>) -> Self {
        let listen = |number| signal(SignalKind::from_raw(number)).ok();
        Self(
            numbers
                .filter_map(|(number, meaning)| Some((listen(number)?, meaning)))
                .collect(),
        )
    }

    async fn next(&mut self) -> T {
        future::poll_fn(|context| {
            let mut arrived = self
                .0
                .iter_mut()
                .filter_map(|(signal, meaning)| signal.poll_recv(context).is_ready().then_some(*meaning));
            arrived.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
