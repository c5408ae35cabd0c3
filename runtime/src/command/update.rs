//! `update`: other limits for a container that runs.
//!
//! What is not named keeps its value, also across several updates: what they have come to is kept beside the config.
//! An update is done as a whole or not at all.

mod flags;
mod intel_rdt;
mod merge;

use std::{fmt::Display, fs, io::Read, path::Path};

use oci_spec::runtime::LinuxResources;

use super::{CommandError, id};
use crate::{
    cli::Update,
    container::{
        cgroup::warn_of_limits,
        limits,
        status::Status,
        store::{Store, StoreError},
    },
    errno::Attempt,
    fail_point, log,
};

pub(super) fn run(store: &Store, args: &Update) -> Result<(), CommandError> {
    let id = id(&args.id)?;
    let (folder, _) = store.find(&id)?;
    let wanted = wanted(args)?;
    // Each of two updates at once would forget what the other has changed. A hook of the creation itself updates while its
    // maker has the claim, and waits for it.
    let _claim = match folder.is_being_made() {
        true => None,
        false => Some(folder.claim()?.ok_or(StoreError::Absent)?),
    };
    let (folder, record) = store.find(&id)?;
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(CommandError::State("container not running".into()));
    }
    warn_of_limits(&record.cgroup()?, Some(&wanted));
    let before = limits::current(&folder)?;
    let after = merge::merge(&before, &wanted);
    let cgroup = record.cgroup()?.with_resources(&merge::to_write(&after, &wanted))?;
    let backup = cgroup.backup()?;
    fail_point::reach("update.claimed");
    // The share of the caches is the last: what is refused of it is not done at all.
    let updated = cgroup
        .update()
        .inspect(|()| fail_point::reach("update.limited"))
        .map_err(CommandError::from)
        .and_then(|()| Ok(limits::save(&folder, &after)?))
        .inspect(|()| fail_point::reach("update.saved"))
        .and_then(|()| {
            let shared = intel_rdt::update(&folder, &record, args);
            shared.inspect_err(|_| warn_unless(limits::save(&folder, &before)))
        });
    // Half of an update is nobody's wish.
    if updated.is_err() {
        warn_unless(cgroup.put_back(&backup));
    }
    updated
}

fn warn_unless(set_back: Result<(), impl Display>) {
    if let Err(err) = set_back {
        log::warn(&format!("setting the limits back failed, too: {err}"));
    }
}

fn wanted(args: &Update) -> Result<LinuxResources, CommandError> {
    let Some(path) = args.resources.as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return flags::resources(args);
    };
    let wanted = from_file(path)?;
    // As in runc: the rules may be somebody else's by now, who has let the container at a device.
    if wanted.devices().as_ref().is_some_and(|rules| !rules.is_empty()) {
        log::warn("update: devices in --resources are ignored: device rules are set when a container is created");
    }
    Ok(wanted)
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
