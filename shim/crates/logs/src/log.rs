//! The log of one container.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use davit_luggage::{Packing, Unpacking};
use davit_stdio::{LogDriver, LogTarget};
use jiff::Timestamp;

use crate::{
    Delivery, InvalidOption, LogError, LogState, Source,
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
        Self::begin(target, container, Beginning::Afresh).await
    }

    /// Goes on with a log that another program has written. A peer is connected to when there is a record for it.
    pub async fn unpack(
        target: &LogTarget,
        container: &str,
        state: LogState,
        unpacking: &mut Unpacking,
    ) -> Result<Option<(Self, Option<Delivery>)>, LogError> {
        Self::begin(target, container, Beginning::From(Box::new(state), unpacking)).await
    }

    /// The log, for another program.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<LogState> {
        let (file, waiting) = match &self.sink {
            Sink::File(file) => (Some(file.pack(packing)?), Vec::new()),
            Sink::Queue(queue) => (None, queue.waiting()),
        };
        Ok(LogState {
            lines: self.lines.state(),
            file,
            waiting,
        })
    }

    async fn begin(
        target: &LogTarget,
        container: &str,
        mut beginning: Beginning<'_>,
    ) -> Result<Option<(Self, Option<Delivery>)>, LogError> {
        let mut options = Options::new(&target.options);
        let opened = match target.driver {
            LogDriver::None => {
                options.finish(target.driver.name())?;
                return Ok(None);
            }
            LogDriver::JsonFile => {
                let rotation = Rotation::NEVER.with_options(&mut options)?;
                open_file(target, options, rotation, Format::json, &mut beginning)?
            }
            LogDriver::Local => {
                let rotation = Rotation::LOCAL.with_options(&mut options)?;
                open_file(target, options, rotation, Format::local, &mut beginning)?
            }
            LogDriver::Fluentd => {
                let identity = Identity::new(container, &mut options);
                let (remote, reach) = Fluentd::from_options(&mut options, &identity, &target.details)?;
                let mode = finish(target, options)?;
                match reach {
                    Reach::AtStart => open_remote(beginning.reach(remote).await?, mode, &mut beginning),
                    Reach::Later { buffer } => open_remote(remote, mode.buffering(buffer), &mut beginning),
                }
            }
            LogDriver::Gelf => {
                let identity = Identity::new(container, &mut options);
                let remote = Gelf::from_options(&mut options, &identity, &target.details)?;
                let mode = finish(target, options)?;
                open_remote(beginning.reach(remote).await?, mode, &mut beginning)
            }
            LogDriver::Journald => {
                let identity = Identity::new(container, &mut options);
                let mode = finish(target, options)?;
                let own = Some(target.path.as_path()).filter(|path| !path.as_os_str().is_empty());
                let remote = Journald::new(own.unwrap_or(Path::new(JOURNAL)), &identity, &target.details);
                open_remote(beginning.reach(remote).await?, mode, &mut beginning)
            }
            LogDriver::Syslog => {
                let identity = Identity::new(container, &mut options);
                let remote = Syslog::from_options(&mut options, identity)?;
                let mode = finish(target, options)?;
                open_remote(beginning.reach(remote).await?, mode, &mut beginning)
            }
        };
        tracing::debug!(container, driver = target.driver.name(), "log opened");
        Ok(Some(beginning.go_on(opened)))
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

/// How a log begins.
enum Beginning<'a> {
    /// With nothing.
    Afresh,
    /// With what another program has left.
    From(Box<LogState>, &'a mut Unpacking),
}

impl Beginning<'_> {
    /// A peer must be there when a container starts. Later it may be away for a while.
    async fn reach<D: Driver>(&self, remote: Remote<D>) -> Result<Remote<D>, LogError> {
        match self {
            Self::Afresh => remote.connected().await,
            Self::From(..) => Ok(remote),
        }
    }

    fn file(&mut self, path: &Path, rotation: Rotation, format: Format) -> io::Result<FileLog> {
        if let Self::From(state, unpacking) = self
            && let Some(file) = state.file.take()
        {
            return FileLog::adopt(path, rotation, format, file, unpacking);
        }
        FileLog::open(path, rotation, format)
    }

    fn queue(&mut self, mode: Mode) -> Arc<Queue> {
        let queue = Queue::new(mode);
        if let Self::From(state, _) = self {
            queue.refill(std::mem::take(&mut state.waiting));
        }
        Arc::new(queue)
    }

    fn go_on(self, (mut log, delivery): (Log, Option<Delivery>)) -> (Log, Option<Delivery>) {
        if let Self::From(state, _) = self {
            log.lines = Lines::from_state(state.lines);
        }
        (log, delivery)
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
    beginning: &mut Beginning<'_>,
) -> Result<(Log, Option<Delivery>), LogError> {
    let mut attributes = target.details.attributes.clone();
    if let Some(tag) = options.text("tag") {
        attributes.insert("tag".into(), tag);
    }
    let mode = finish(target, options)?;
    let file = beginning.file(&target.path, rotation, format(&attributes));
    let file = file.map_err(|source| LogError::File {
        path: target.path.clone(),
        source,
    })?;
    Ok(match mode {
        Mode::Blocking => (Log::new(Sink::File(file)), None),
        Mode::NonBlocking { .. } => {
            let queue = beginning.queue(mode);
            let delivery = Delivery::start(queue.clone(), write_file(queue.clone(), file));
            (Log::new(Sink::Queue(queue)), Some(delivery))
        }
    })
}

fn open_remote<D: Driver>(remote: Remote<D>, mode: Mode, beginning: &mut Beginning<'_>) -> (Log, Option<Delivery>) {
    let queue = beginning.queue(mode);
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
