//! From a runtime's name to its shim's program.

use std::{
    env, io,
    path::{Path, PathBuf},
};

/// A runtime name that leads to no program.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRuntime {
    /// No name at all.
    #[error("no runtime name")]
    Empty,
    /// An absolute path to nothing.
    #[error("invalid custom binary path: stat {path}: {reason}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why it is of no use.
        reason: String,
    },
    /// Neither an absolute path nor dotted parts.
    #[error(
        "invalid runtime name {0}, correct runtime name should be either format like `io.containerd.runc.v2` or a full \
         path to the binary"
    )]
    Malformed(String),
    /// A good name whose program is not there.
    #[error("runtime {runtime:?} binary not installed {program:?}: file does not exist")]
    NotInstalled {
        /// The name.
        runtime: String,
        /// The program looked for.
        program: String,
    },
}

/// The shim's program for a runtime: an absolute path is taken as it is; the last two parts of `io.containerd.a.b` make
/// `containerd-shim-a-b`, which is looked for beside this executable, then on PATH.
pub fn resolve(runtime: &str) -> Result<PathBuf, InvalidRuntime> {
    let path = Path::new(runtime);
    if path.is_absolute() {
        return match path.metadata() {
            Ok(_) => Ok(path.into()),
            Err(error) => Err(InvalidRuntime::Path {
                path: path.into(),
                reason: reason(&error),
            }),
        };
    }
    let program = program_name(runtime)?;
    places()
        .map(|folder| folder.join(&program))
        .find(|file| file.is_file())
        .ok_or_else(|| InvalidRuntime::NotInstalled {
            runtime: runtime.into(),
            program,
        })
}

/// The words that containerd has for the usual case.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        _ => error.to_string(),
    }
}

fn program_name(runtime: &str) -> Result<String, InvalidRuntime> {
    if runtime.is_empty() {
        return Err(InvalidRuntime::Empty);
    }
    let malformed = || InvalidRuntime::Malformed(runtime.into());
    if runtime.contains('/') || runtime.starts_with('.') {
        return Err(malformed());
    }
    let (rest, version) = runtime.rsplit_once('.').ok_or_else(malformed)?;
    let name = rest.rsplit_once('.').map_or(rest, |(_, name)| name);
    Ok(format!("containerd-shim-{name}-{version}"))
}

fn places() -> impl Iterator<Item = PathBuf> {
    let own = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    let path: Vec<_> = env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    own.into_iter().chain(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_parts_of_a_name_make_the_program() {
        for (runtime, program) in [
            ("io.containerd.runc.v2", "containerd-shim-runc-v2"),
            ("io.containerd.davit.v1", "containerd-shim-davit-v1"),
            ("a.b", "containerd-shim-a-b"),
        ] {
            assert_eq!(program_name(runtime).unwrap(), program);
        }
        for runtime in ["", "runc", "../x.y", "a/b.c", ".b"] {
            assert!(program_name(runtime).is_err(), "{runtime}");
        }
    }

    #[test]
    fn an_absolute_path_must_exist() {
        assert_eq!(resolve("/bin/sh").unwrap(), Path::new("/bin/sh"));
        assert!(matches!(resolve("/no/such/shim"), Err(InvalidRuntime::Path { .. })));
        assert!(matches!(
            resolve("io.containerd.nosuchshim.v9"),
            Err(InvalidRuntime::NotInstalled { .. })
        ));
    }
}
