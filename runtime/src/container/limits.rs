//! The limits that a container has come to by updates, kept beside its config.

use std::fs;

use oci_spec::runtime::LinuxResources;

use super::store::{Folder, StoreError};
use crate::errno::{Attempt, CallError};

const FILE: &str = "resources.json";

/// The container's limits as they were last set: by an update, or by its config.
pub fn current(folder: &Folder) -> Result<LinuxResources, StoreError> {
    let path = folder.path().join(FILE);
    match fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map_err(|err| StoreError::Damaged {
            path,
            problem: err.to_string(),
        }),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            Ok(folder.config()?.linux.resources.unwrap_or_default())
        }
        Err(err) => Err(err).attempt("read", path.display()).map_err(StoreError::Call),
    }
}

/// Keeps them: whole, or as they were before. For whoever has the claim on the folder.
pub fn save(folder: &Folder, limits: &LinuxResources) -> Result<(), CallError> {
    let json = serde_json::to_vec(limits).expect("limits are made of text and numbers");
    let aside = folder.path().join(".resources.json");
    fs::write(&aside, json).attempt("write", aside.display())?;
    fs::rename(&aside, folder.path().join(FILE)).attempt("rename", aside.display())
}
