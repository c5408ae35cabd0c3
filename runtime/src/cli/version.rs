//! `--version`, in the lines that containerd, Docker and podman look for.

use std::{env, path::Path};

/// The version of the runtime specification that is followed.
pub const SPEC: &str = "1.3.0";

/// The commit that the program was built from, where the build says so.
pub const COMMIT: &str = match option_env!("DAVIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The name that the program was called by: it may stand in another runtime's place.
pub fn program() -> String {
    let name = env::args_os().next().unwrap_or_default();
    let name = Path::new(&name)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() { "davit-runtime".into() } else { name }
}

pub(super) fn text() -> String {
    format!(
        "{} version {}\ncommit: {COMMIT}\nspec: {SPEC}\nlibseccomp: {}\n",
        program(),
        env!("CARGO_PKG_VERSION"),
        davit_seccomp::names::library_version(),
    )
}
