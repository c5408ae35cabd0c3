//! What the daemon logs, and the changing of it while it runs.

use std::io;

use anyhow::anyhow;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use crate::config::{Format, Log};

/// Libraries that say something of every frame; only their warnings are of use.
const LIBRARIES: [&str; 8] = [
    "h2",
    "hyper",
    "hyper_util",
    "tonic",
    "tower",
    "ttrpc",
    "rustls",
    "reqwest",
];

/// The way to another level.
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Logs to standard error from now on.
///
/// # Errors
/// The level is none.
pub fn start(log: &Log) -> anyhow::Result<Level> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    // It would say that it cannot log, and where it cannot that would be a panic: whoever reads may go.
    let lines = fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    let lines = match log.format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Level(handle))
}

impl Level {
    /// Logs at another level.
    ///
    /// # Errors
    /// The level is none.
    pub fn set(&self, level: &str) -> anyhow::Result<()> {
        Ok(self.0.reload(filter(level)?)?)
    }
}

/// One level for all of our own.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let level: LevelFilter = level
        .parse()
        .map_err(|_| anyhow!("log level {level:?} is not one of off, error, warn, info, debug, trace"))?;
    let own = EnvFilter::default().add_directive(level.into());
    let quiet = LIBRARIES.map(|library| format!("{library}=warn").parse());
    Ok(quiet.into_iter().fold(own, |filter, directive| {
        filter.add_directive(directive.expect("a library's directive is well-formed"))
    }))
}
