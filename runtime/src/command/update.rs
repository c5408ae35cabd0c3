//! `update`: other limits for a container that runs.
//!
//! What is not named keeps its value, also across several updates: what they have come to is kept beside the config.

mod flags;
mod intel_rdt;
mod merge;

use std::{fs, io::Read, path::Path};

use oci_spec::runtime::LinuxResources;

use super::{CommandError, id};
use crate::{
    cli::Update,
    container::{
        cgroup::warn_of_limits,
        limits,
        record::Record,
        status::Status,
        store::{Folder, Store},
    },
    errno::Attempt,
    log,
};

pub(super) fn run(store: &Store, args: &Update) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    let wanted = match args.resources.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => {
            let wanted = from_file(path)?;
            // As in runc: the rules may be somebody else's by now, who has let the container at a device.
            if wanted.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
                log::warn(
                    "update: devices in --resources are ignored: device rules are set when a container is created",
                );
            }
            wanted
        }
        None => flags::resources(args)?,
    };
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(CommandError::State("container not running".into()));
    }
    intel_rdt::update(&folder, &record, args)?;
    let before = limits::current(&folder)?;
    let after = merge::merge(&before, &wanted);
    warn_of_limits(&record.cgroup()?, Some(&wanted));
    apply(&folder, &record, &before, &after)
}

fn apply(
    folder: &Folder,
    record: &Record,
    before: &LinuxResources,
    after: &LinuxResources,
) -> Result<(), CommandError> {
    let cgroup = record.cgroup()?.with_resources(after)?;
    if let Err(err) = cgroup.update() {
        // Half of an update is nobody's wish.
        let restored = cgroup.with_resources(before).and_then(|cgroup| cgroup.update());
        if let Err(err) = restored {
            log::warn(&format!("setting the limits back failed, too: {err}"));
        }
        return Err(err.into());
    }
    Ok(limits::save(folder, after)?)
}

fn from_file(path: &Path) -> Result<LinuxResources, CommandError> {
    let mut json = Vec::new();
    match path.to_str() {
        Some("-") => std::io::stdin()
            .read_to_end(&mut json)
            .attempt("read", "standard input")
            .map(drop)?,
        _ => json = fs::read(path).attempt("read", path.display())?,
    }
    serde_json::from_slice(&json)
        .and_then(davit_spec::parse_resources)
        .map_err(|err| CommandError::Usage(format!("resources: {err}")))
}
