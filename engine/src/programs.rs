//! Where the other programs are: beside this one, else on PATH.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::bail;
use davit_engine_containers::{Paths, Runtimes};

use crate::arguments::Options;

const SHIM_NAME: &str = "io.containerd.davit.v1";
const SHIM_PROGRAM: &str = "containerd-shim-davit-v1";

/// A program of ours.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let beside = env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    if let Some(path) = beside.filter(|path| path.is_file()) {
        return Ok(path);
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    match env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
    {
        Some(path) => Ok(std::path::absolute(path)?),
        None => bail!("{name} is neither beside davitd nor on PATH"),
    }
}

/// The shim by the name that the manager finds it under: our own manager looks beside itself, a foreign one is given the path.
pub fn runtimes(options: &Options, paths: &Paths) -> anyhow::Result<Runtimes> {
    let shim = match (&options.shim, &options.containerd) {
        (Some(path), _) => std::path::absolute(path)?,
        (None, Some(_)) => find(SHIM_PROGRAM)?,
        (None, None) => Path::new(SHIM_NAME).into(),
    };
    Ok(Runtimes {
        shim: shim.display().to_string(),
        root: paths.runtime_root(),
        default: options.default_runtime.clone(),
        programs: options.runtimes.clone(),
    })
}
