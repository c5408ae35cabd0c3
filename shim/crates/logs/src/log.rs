//! The log of one container.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use davit_stdio::{LogDriver, LogTarget};
use jiff::Timestamp;

use crate::{
    Delivery, InvalidOption, LogError, Source,
    delivery::write_file,
    file::{FileLog, Format},
    lines::Lines,
    options::Options,
    queue::{Mode, Queue},
    record::Record,
    remote::{Driver, Fluentd, Gelf, Identity, JOURNAL, Journald, Reach, Remote, Syslog},
    rotation::Rotation,
};

/// Takes a container's output and makes records of it.
#[derive(Debug)]
pub struct Log {
    lines: Lines,
    sink: Sink,
}

/// Where records go.
#[derive(Debug)]
enum Sink {
    /// They are written at once.
    File(FileLog),
    /// They wait for somebody.
    Queue(Arc<Queue>),
}

impl Log {
    /// Opens what the target names; a driver with a peer connects to it. `None` for the driver `none`.
    pub async fn open(target: &LogTarget, container: &str) -> Result<Option<(Self, Option<Delivery>)>, LogError> {
        let mut options = Options::new(&target.options);
        let opened = match target.driver {
            LogDriver::None => {
                options.finish(target.driver.name())?;
                return Ok(None);
            }
            LogDriver::JsonFile => {
                let rotation = Rotation::NEVER.with_options(&mut options)?;
                open_file(target, options, rotation, Format::json)?
            }
            LogDriver::Local => {
                let rotation = Rotation::LOCAL.with_options(&mut options)?;
                open_file(target, options, rotation, Format::local)?
            }
            LogDriver::Fluentd => {
                let identity = Identity::new(container, &mut options);
                let (remote, reach) = Fluentd::from_options(&mut options, &identity, &target.details)?;
                let mode = finish(target, options)?;
                match reach {
                    Reach::AtStart => open_remote(remote.connected().await?, mode),
                    Reach::Later { buffer } => open_remote(remote, mode.buffering(buffer)),
                }
            }
            LogDriver::Gelf => {
                let identity = Identity::new(container, &mut options);
                let remote = Gelf::from_options(&mut options, &identity, &target.details)?;
                let mode = finish(target, options)?;
                open_remote(remote.connected().await?, mode)
            }
            LogDriver::Journald => {
                let identity = Identity::new(container, &mut options);
                let mode = finish(target, options)?;
                let own = Some(target.path.as_path()).filter(|path| !path.as_os_str().is_empty());
                let remote = Journald::new(own.unwrap_or(Path::new(JOURNAL)), &identity, &target.details);
                open_remote(remote.connected().await?, mode)
            }
            LogDriver::Syslog => {
                let identity = Identity::new(container, &mut options);
                let remote = Syslog::from_options(&mut options, identity)?;
                let mode = finish(target, options)?;
                open_remote(remote.connected().await?, mode)
            }
        };
        tracing::debug!(container, driver = target.driver.name(), "log opened");
        Ok(Some(opened))
    }

    /// Takes output as it came from the process at `now`.
    ///
    /// An error means that records are lost; later calls may succeed.
    pub fn write(&mut self, source: Source, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        self.sink.take(|emit| self.lines.push(source, bytes, now, emit))
    }

    /// Takes what is left of a stream that has ended: a line without a newline.
    pub fn finish(&mut self, source: Source, now: Timestamp) -> io::Result<()> {
        self.sink.take(|emit| self.lines.finish(source, now, emit))
    }
}

impl Sink {
    fn take(&mut self, feed: impl FnOnce(&mut dyn FnMut(Record<'_>))) -> io::Result<()> {
        match self {
            Self::File(log) => {
                let mut batch = log.batch();
                feed(&mut |record| batch.push(&record));
                batch.finish()
            }
            Self::Queue(queue) => {
                feed(&mut |record| queue.push(record));
                Ok(())
            }
        }
    }
}

fn open_file(
    target: &LogTarget,
    mut options: Options,
    rotation: Rotation,
    format: impl FnOnce(&BTreeMap<String, String>) -> Format,
) -> Result<(Log, Option<Delivery>), LogError> {
    let mut attributes = target.details.attributes.clone();
    if let Some(tag) = options.text("tag") {
        attributes.insert("tag".into(), tag);
    }
    let mode = finish(target, options)?;
    let file = FileLog::open(&target.path, rotation, format(&attributes)).map_err(|source| LogError::File {
        path: target.path.clone(),
        source,
    })?;
    Ok(match mode {
        Mode::Blocking => (Log::new(Sink::File(file)), None),
        Mode::NonBlocking { .. } => {
            let queue = Arc::new(Queue::new(mode));
            let delivery = Delivery::start(queue.clone(), write_file(queue.clone(), file));
            (Log::new(Sink::Queue(queue)), Some(delivery))
        }
    })
}

fn open_remote<D: Driver>(remote: Remote<D>, mode: Mode) -> (Log, Option<Delivery>) {
    let queue = Arc::new(Queue::new(mode));
    let delivery = Delivery::start(queue.clone(), remote.run(queue.clone()));
    (Log::new(Sink::Queue(queue)), Some(delivery))
}

/// Takes the options that every driver has; none may be left.
fn finish(target: &LogTarget, mut options: Options) -> Result<Mode, InvalidOption> {
    let mode = Mode::from_options(&mut options)?;
    options.finish(target.driver.name())?;
    Ok(mode)
}

impl Log {
    fn new(sink: Sink) -> Self {
        Self {
            lines: Lines::default(),
            sink,
        }
    }
}
