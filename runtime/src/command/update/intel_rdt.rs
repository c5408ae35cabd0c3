//! Another share of the caches and of the memory bandwidth.

use davit_spec::IntelRdt;

use crate::{
    cli::Update,
    command::CommandError,
    container::{record::Record, store::Folder},
    fail_point,
    intel_rdt::{IntelRdtError, Resctrl},
    log,
};

/// Writes the schemas of the command line. A container without a group gets one, with its first process in it.
pub(super) fn update(folder: &Folder, record: &Record, args: &Update) -> Result<(), CommandError> {
    let of = |schema: &Option<String>| schema.clone().unwrap_or_default();
    let wanted = IntelRdt {
        l3_cache_schema: of(&args.l3_cache_schema),
        mem_bw_schema: of(&args.mem_bw_schema),
        ..IntelRdt::default()
    };
    if wanted.lines().is_empty() {
        return Ok(());
    }
    let resctrl = Resctrl::mounted();
    for (schema, resource, what) in [
        (&wanted.l3_cache_schema, "L3", "Intel RDT/CAT: l3 cache schema"),
        (&wanted.mem_bw_schema, "MB", "Intel RDT/MBA: memory bandwidth schema"),
    ] {
        match &resctrl {
            Some(resctrl) => resctrl.needs(resource, !schema.is_empty(), what)?,
            None if !schema.is_empty() => return Err(IntelRdtError::Missing(what).into()),
            None => {}
        }
    }
    if let Some(membership) = &record.intel_rdt {
        membership.complete(record.init.pid)?;
        return Ok(membership.set(&wanted.lines())?);
    }
    let membership = resctrl.ok_or(IntelRdtError::Disabled)?.plan(&wanted, &record.id)?;
    // Recorded first: what is made is removed with the container, whatever comes between.
    let member = Record {
        intel_rdt: Some(membership.clone()),
        ..record.clone()
    };
    folder.save(&member)?;
    fail_point::reach("update.share-recorded");
    let entered = membership
        .make(&wanted.lines())
        .and_then(|()| membership.adopt(record.init.pid));
    if entered.is_err() {
        let forgotten = membership.remove().map_err(CommandError::from);
        if let Err(err) = forgotten.and_then(|()| Ok(folder.save(record)?)) {
            log::warn(&format!("giving the group back failed, too: {err}"));
        }
    }
    Ok(entered?)
}
