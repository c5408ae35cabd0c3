//! `spec`: an example of a config.json.

use std::{fs::OpenOptions, io::Write};

use rustix::process::{getegid, geteuid};

use super::CommandError;
use crate::{cli::Spec, errno::Attempt};

pub(super) fn run(args: &Spec) -> Result<(), CommandError> {
    let text = match args.rootless {
        true => davit_spec::rootless_example(geteuid().as_raw(), getegid().as_raw()),
        false => davit_spec::DEFAULT.to_owned(),
    };
    let path = args.bundle.join("config.json");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CommandError::State(format!(
                "File {} exists. Remove it first",
                path.display()
            )));
        }
        file => file.attempt("make", path.display())?,
    };
    Ok(file.write_all(text.as_bytes()).attempt("write", path.display())?)
}
