//! Logs that are sent to a peer, which may be slow, or away for a while.
//!
//! One record is sent after the other. Where that fails, the connection is made anew, with growing pauses; when a record has had all
//! its attempts it is lost, and so are those behind it until the peer is there again: what waits must not wait for ever. A peer that
//! takes nothing for [`STUCK`] counts as away. For one that was given up, a record is tried now and then ([`Retry::look`]).

mod address;
mod connection;
mod driver;
mod fluentd;
mod gelf;
mod journald;
mod resolve;
mod syslog;

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{task, time};

pub(crate) use self::{
    address::Address,
    connection::Connection,
    driver::{Driver, Identity},
    fluentd::{Fluentd, Reach},
    gelf::Gelf,
    journald::{Journald, SOCKET as JOURNAL},
    syslog::Syslog,
};
use crate::{LogError, queue::Queue, seldom::Seldom};

/// How long one message may take.
const STUCK: Duration = Duration::from_secs(60);

/// How often, at least and at most, is looked whether a peer that was given up is there again.
const LOOKS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// How often and when a record is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Retry {
    /// How many attempts follow the first.
    pub attempts: u32,
    /// The pause before the first of them.
    pub pause: Duration,
    /// By what each pause is longer than the one before.
    pub growth: f64,
    /// The longest pause.
    pub longest: Duration,
}

impl Retry {
    /// About twenty seconds.
    pub const PATIENT: Self = Self {
        attempts: 9,
        pause: Duration::from_millis(100),
        growth: 2.0,
        longest: Duration::from_secs(5),
    };

    fn pause(&self, failures: u32) -> Duration {
        let factor = self.growth.powi(failures.min(1000) as i32);
        let seconds = (self.pause.as_secs_f64() * factor).min(self.longest.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(self.longest)
    }

    /// The pause between looks for a peer that was given up. What comes meanwhile is lost: it does not grow.
    fn look(&self) -> Duration {
        let [least, most] = LOOKS;
        self.pause.clamp(least, most)
    }
}

/// Where and how a driver's records are sent.
#[derive(Debug)]
pub(crate) struct Remote<D> {
    driver: D,
    /// The first that can be reached is the peer.
    addresses: Vec<Address>,
    retry: Retry,
    connection: Option<Connection>,
    /// The peer has been given up until then.
    away_until: Option<Instant>,
    too_long: Seldom,
}

/// Why a record has not arrived.
enum Failure {
    /// It never will.
    TooLong,
    /// It may, over another connection.
    Away(io::Error),
}

/// A message that no peer of this kind takes.
#[derive(Debug, thiserror::Error)]
#[error("the message is too long")]
struct TooLong;

impl<D: Driver> Remote<D> {
    pub fn new(driver: D, addresses: Vec<Address>, retry: Retry) -> Self {
        Self {
            driver,
            addresses,
            retry,
            connection: None,
            away_until: None,
            too_long: Seldom::default(),
        }
    }

    /// Connects now: a peer that cannot be reached is an error.
    pub async fn connected(mut self) -> Result<Self, LogError> {
        match connect(&self.addresses).await {
            Ok(connection) => self.connection = Some(connection),
            Err(source) => {
                let peers: Vec<_> = self.addresses.iter().map(Address::to_string).collect();
                let peer = peers.join(", ");
                return Err(LogError::Peer { peer, source });
            }
        }
        Ok(self)
    }

    /// Sends the records of a queue to its end.
    pub async fn run(mut self, queue: Arc<Queue>) {
        loop {
            let mut message = Vec::new();
            if queue
                .show(|record| self.driver.encode(record, &mut message))
                .await
                .is_none()
            {
                return;
            }
            if !message.is_empty() {
                self.deliver(&message).await;
            }
            // Where neither side ever waits, other tasks must have their turn.
            task::consume_budget().await;
        }
    }

    async fn deliver(&mut self, message: &[u8]) {
        if self.away_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let attempts = if self.away_until.is_some() {
            0
        } else {
            self.retry.attempts
        };
        let mut failures = 0;
        loop {
            let was_connected = self.connection.is_some();
            let error = match self.attempt(message).await {
                Ok(()) => return self.arrived(),
                Err(Failure::TooLong) => return self.report_too_long(message.len()),
                Err(Failure::Away(error)) => error,
            };
            self.connection = None;
            if was_connected {
                // The peer may have been started anew meanwhile: no pause yet.
                continue;
            }
            if failures == attempts {
                return self.given_up(&error);
            }
            time::sleep(self.retry.pause(failures)).await;
            failures += 1;
        }
    }

    async fn attempt(&mut self, message: &[u8]) -> Result<(), Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.addresses).await.map_err(Failure::Away)?),
        };
        match time::timeout(STUCK, self.driver.send(connection, message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_too_long(&error) => Err(Failure::TooLong),
            Ok(Err(error)) => Err(Failure::Away(error)),
            Err(_) => Err(Failure::Away(io::ErrorKind::TimedOut.into())),
        }
    }

    fn report_too_long(&mut self, length: usize) {
        if self.too_long.now() {
            tracing::warn!(length, "log records are too long for their peer: they are lost");
        }
    }

    fn arrived(&mut self) {
        if self.away_until.take().is_some() {
            tracing::info!("log records are delivered again");
        }
    }

    fn given_up(&mut self, error: &io::Error) {
        let before = self.away_until.replace(Instant::now() + self.retry.look());
        if before.is_none() {
            tracing::warn!(%error, "log records are lost until their peer is there again");
        }
    }
}

async fn connect(addresses: &[Address]) -> io::Result<Connection> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match address.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error())
        || error.get_ref().is_some_and(|error| error.is::<TooLong>())
}

#[cfg(test)]
mod tests;
