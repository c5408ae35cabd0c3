//! Signals that this program gets and a container should have.

use std::future;

use futures::{StreamExt, stream::FuturesUnordered};
use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::client::{Client, encode};

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

/// What ends this program when it forwards nothing.
const ENDING: &[i32] = &[1, 2, 15];

/// Forwards signals to a container. Never ends; drop it.
pub async fn forward(client: &Client, container: &str) {
    let path = format!("/containers/{}/kill", encode(container));
    let mut arriving: FuturesUnordered<_> = FORWARDED
        .iter()
        .filter_map(|&(number, name)| Some(next(listen(number)?, name)))
        .collect();
    while let Some((signal, name)) = arriving.next().await {
        // A container that ended, or has not started, misses the signal; `run` reports its end anyway.
        let _ = client.request(Method::POST, &path, &[("signal", name)]).await;
        arriving.push(next(signal, name));
    }
    future::pending().await
}

/// The number of the first signal that asks this program to end.
pub async fn last_one() -> i32 {
    let mut arriving: FuturesUnordered<_> = ENDING
        .iter()
        .filter_map(|&number| Some(next(listen(number)?, number)))
        .collect();
    match arriving.next().await {
        Some((_, number)) => number,
        None => future::pending().await,
    }
}

fn listen(number: i32) -> Option<Signal> {
    signal(SignalKind::from_raw(number)).ok()
}

async fn next<T>(mut signal: Signal, tag: T) -> (Signal, T) {
    match signal.recv().await {
        Some(()) => (signal, tag),
        None => future::pending().await,
    }
}
