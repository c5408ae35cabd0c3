//! How the segments are found again, and what becomes of those that are damaged.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use uuid::Uuid;

use crate::{
    Epoch, JournalError,
    record::VERSION,
    segment::{Segment, Unreadable, first_of},
};

/// What a folder holds.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) epoch: Epoch,
    /// From the oldest to the newest; never none.
    pub(crate) segments: Vec<Segment>,
    /// The numbers of what is held.
    pub(crate) identities: HashMap<u128, u64>,
}

enum Failure {
    NoSegments,
    Damaged(PathBuf, &'static str),
    Foreign(PathBuf, u32),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens what is there. Where there is nothing, or nothing that can be relied upon, a new epoch begins.
pub(crate) fn open(folder: &Path) -> Result<Found, JournalError> {
    let failed = |source| JournalError::Open {
        path: folder.into(),
        source,
    };
    match load(folder) {
        Ok(found) => return Ok(found),
        Err(Failure::NoSegments) => {}
        Err(Failure::Damaged(path, what)) => {
            tracing::error!(path = %path.display(), what, "journal is damaged: a new one begins");
            put_aside(folder).map_err(failed)?;
        }
        Err(Failure::Foreign(path, found)) => {
            return Err(JournalError::Version {
                path,
                found,
                known: VERSION,
            });
        }
        Err(Failure::Io(error)) => return Err(failed(error)),
    }
    begin(folder).map_err(failed)
}

fn load(folder: &Path) -> Result<Found, Failure> {
    let mut paths = paths(folder)?;
    paths.sort();
    let mut found: Option<Found> = None;
    let newest = paths.last().map(|(first, _)| *first);
    for (first, path) in paths {
        let mut identities = HashMap::new();
        let identify = |identity, number| {
            identities.insert(identity, number);
        };
        let (segment, epoch) = match Segment::load(&path, first, identify) {
            Ok(loaded) => loaded,
            // Made a moment before the death: nothing was written into it.
            Err(Unreadable::Unfinished) if Some(first) == newest => {
                fs::remove_file(&path)?;
                break;
            }
            Err(Unreadable::Unfinished) => return Err(Failure::Damaged(path, "header")),
            Err(Unreadable::Damaged(what)) => return Err(Failure::Damaged(path, what)),
            Err(Unreadable::Foreign(version)) => return Err(Failure::Foreign(path, version)),
            Err(Unreadable::Io(error)) if is_damage(&error) => return Err(Failure::Damaged(path, "disk")),
            Err(Unreadable::Io(error)) => return Err(error.into()),
        };
        match &mut found {
            None => {
                found = Some(Found {
                    epoch,
                    segments: vec![segment],
                    identities,
                });
            }
            Some(found) if found.epoch == epoch && found.segments.last().is_some_and(|last| last.next() == first) => {
                found.segments.push(segment);
                found.identities.extend(identities);
            }
            Some(_) => return Err(Failure::Damaged(path, "it does not follow the segment before it")),
        }
    }
    found.ok_or(Failure::NoSegments)
}

/// Whether the disk has lost what was written. Any other error may pass, and what is held must not be given up for it.
fn is_damage(error: &io::Error) -> bool {
    let lost = [Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    lost.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn paths(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(first) = first_of(&path) {
            paths.push((first, path));
        }
    }
    Ok(paths)
}

fn begin(folder: &Path) -> io::Result<Found> {
    fs::create_dir_all(folder)?;
    let epoch = Epoch(Uuid::new_v4().as_u128());
    let segment = Segment::create(folder, epoch, 1)?;
    // The folder's own name must outlive a crash, too.
    if let Some(parent) = folder.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(Found {
        epoch,
        segments: vec![segment],
        identities: HashMap::new(),
    })
}

/// Keeps a damaged journal for who wants to look at it; one at most.
fn put_aside(folder: &Path) -> io::Result<()> {
    let aside = folder.with_extension("damaged");
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(folder, aside)
}
