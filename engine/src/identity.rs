//! The engine's id, and the file that names its pid.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// A uuid made with the data root and kept in it.
pub fn engine_id(data_root: &Path) -> anyhow::Result<String> {
    let path = data_root.join("engine-id");
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    }
    let id = uuid::Uuid::new_v4().to_string();
    fs::write(&path, format!("{id}\n")).with_context(|| path.display().to_string())?;
    Ok(id)
}

/// A file with our pid; removed with this.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    pub fn write(path: &Path) -> anyhow::Result<Self> {
        fs::write(path, std::process::id().to_string()).with_context(|| path.display().to_string())?;
        Ok(Self(path.into()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the pid file cannot be removed");
        }
    }
}
