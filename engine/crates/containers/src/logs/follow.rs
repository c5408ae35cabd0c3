//! The reading itself: all files from the oldest wanted to the newest, then what comes while the container runs.

use std::{io, path::Path};

use rustix::fs::inotify;
use tokio::{net::unix::pipe, sync::mpsc};

use super::{End, LogLine, LogQuery, LogStream, Reader, position};
use crate::{container::Container, error::ContainerError};

type Lines = mpsc::Sender<Result<LogLine, ContainerError>>;

/// Why reading is over before the end of the log.
struct Enough;

pub(super) async fn run(container: &Container, log: &Path, query: LogQuery, lines: &Lines) -> io::Result<()> {
    // Watched before the first read, so that nothing falls in between.
    let folder = log.parent().unwrap_or(Path::new("/"));
    let changes = if query.follow {
        Some(Changes::watch(folder)?)
    } else {
        None
    };
    let mut view = container.watch();
    let running = query.follow && view.borrow_and_update().record.state.is_running();
    let Some(mut reader) = begin(log.to_owned(), query).await? else {
        return Ok(());
    };
    loop {
        // Asked before reading to the end: the log is complete when an end is seen.
        let over = !running || {
            let now = view.borrow_and_update();
            now.removed || !now.record.state.is_running()
        };
        let (back, result) = read_to_end(reader, log, query, lines).await?;
        reader = back;
        if over || result.is_err() {
            return Ok(());
        }
        if let Some(changes) = &changes {
            tokio::select! {
                changed = changes.wait() => changed?,
                _ = view.changed() => {}
                () = lines.closed() => return Ok(()),
            }
        }
    }
}

async fn begin(log: std::path::PathBuf, query: LogQuery) -> io::Result<Option<Reader>> {
    blocking(move || {
        let files = position::files(&log);
        let end = match files.first() {
            Some(newest) if !query.follow => Some(End::of(newest)?),
            _ => None,
        };
        let place = match query.tail {
            Some(count) => position::of_last_lines(&files, count, end)?,
            None => files.len().checked_sub(1).map(|oldest| (oldest, 0)),
        };
        place
            .map(|(place, offset)| Reader::open(&files[place], offset, end))
            .transpose()
    })
    .await
}

/// Sends all there is now, through rotated files to the newest one's end.
async fn read_to_end(
    mut reader: Reader,
    log: &Path,
    query: LogQuery,
    lines: &Lines,
) -> io::Result<(Reader, Result<(), Enough>)> {
    loop {
        let log = log.to_owned();
        let (back, batch) = blocking(move || {
            reader.rewind_if_emptied()?;
            let mut batch = reader.next_lines()?;
            while batch.is_empty() {
                let Some(next) = reader.successor(&log)? else { break };
                // Rotation comes between the last write and our look: read the old one's rest first.
                batch = reader.next_lines()?;
                if batch.is_empty() {
                    reader = next;
                    batch = reader.next_lines()?;
                }
            }
            Ok((reader, batch))
        })
        .await?;
        reader = back;
        if batch.is_empty() {
            return Ok((reader, Ok(())));
        }
        for line in batch {
            if query.until.is_some_and(|until| line.time > until) {
                return Ok((reader, Err(Enough)));
            }
            if wanted(&line, query) && lines.send(Ok(line)).await.is_err() {
                return Ok((reader, Err(Enough)));
            }
        }
    }
}

fn wanted(line: &LogLine, query: LogQuery) -> bool {
    let stream = match line.stream {
        LogStream::Stdout => query.stdout,
        LogStream::Stderr => query.stderr,
    };
    stream && query.since.is_none_or(|since| line.time >= since)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Tells that something was written or rotated in a folder.
struct Changes(pipe::Receiver);

impl Changes {
    fn watch(folder: &Path) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(
            &fd,
            folder,
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO,
        )?;
        // Not a pipe, but read like one: what comes out is of no interest.
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(fd)?))
    }

    async fn wait(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut buffer = [0; 4096];
        while self.0.try_read(&mut buffer).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}
