//! `spec`: an example of a config.json.

use std::{fs::OpenOptions, io::Write};

use super::CommandError;
use crate::{cli::Spec, errno::Attempt};

pub(super) fn run(args: &Spec) -> Result<(), CommandError> {
    if args.rootless {
        return Err(CommandError::Unsupported("spec --rootless"));
    }
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
    Ok(file
        .write_all(davit_spec::DEFAULT.as_bytes())
        .attempt("write", path.display())?)
}
