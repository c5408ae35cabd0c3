//! How a process ended, and the record of it in the bundle.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use rustix::process::WaitStatus;
use serde::{Deserialize, Serialize};

/// The status of a process that a signal killed is 128 plus the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, or 128 plus the signal.
    #[serde(rename = "exit_status")]
    pub status: u32,
    /// When the shim saw it.
    #[serde(rename = "exited_at")]
    pub at: Timestamp,
}

/// The exit record: on disk before anybody is told, so that no death of shim or manager loses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The process.
    pub pid: u32,
    /// Its end.
    #[serde(flatten)]
    pub exit: Exit,
}

impl Exit {
    /// An exit now.
    pub fn now(status: u32) -> Self {
        Self {
            status,
            at: Timestamp::now(),
        }
    }

    /// From what wait returned; `None` if the process was stopped or continued only.
    pub fn from_wait(status: WaitStatus) -> Option<Self> {
        let number = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => return None,
        };
        Some(Self::now(number as u32))
    }
}

impl ExitRecord {
    /// Writes the record whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        davit_fail_point::reach("shim.exit.drafted");
        fs::rename(temporary, path)
    }

    /// Reads the record; `None` where there is none.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exit.json");
        assert_eq!(ExitRecord::read(&path).unwrap(), None);
        let record = ExitRecord {
            pid: 7,
            exit: Exit::now(137),
        };
        record.write(&path).unwrap();
        assert_eq!(ExitRecord::read(&path).unwrap(), Some(record));
        fs::write(&path, "{").unwrap();
        assert!(ExitRecord::read(&path).is_err());
    }
}
