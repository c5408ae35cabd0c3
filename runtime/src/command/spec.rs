//! `spec`: an example of a config.json.

use std::{fs::OpenOptions, io::Write};

use rustix::{
    fs::statfs,
    process::{getegid, geteuid},
};

use super::CommandError;
use crate::{cli::Spec, errno::Attempt};

pub(super) fn run(args: &Spec) -> Result<(), CommandError> {
    let text = match args.rootless {
        true => davit_spec::rootless_example(geteuid().as_raw(), getegid().as_raw()),
        false => davit_spec::DEFAULT.to_owned(),
    };
    let text = if cgroups_are_v2_alone() {
        davit_spec::with_cgroup_namespace(&text)
    } else {
        text
    };
    let path = args.bundle.join("config.json");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CommandError::State("File config.json exists. Remove it first".into()));
        }
        file => file.attempt("make", path.display())?,
    };
    Ok(file.write_all(text.as_bytes()).attempt("write", path.display())?)
}

fn cgroups_are_v2_alone() -> bool {
    /// linux/magic.h: CGROUP2_SUPER_MAGIC
    const CGROUP2: u64 = 0x6367_7270;
    statfs("/sys/fs/cgroup").is_ok_and(|stat| stat.f_type as u64 == CGROUP2)
}
