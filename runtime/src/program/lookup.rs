//! Finding the program on the container's PATH, with the words Docker knows the outcomes by.

use std::ffi::CString;

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, accessat, stat},
    io::Errno as Kernel,
};

use crate::errno::Errno;

/// Why there is nothing to execute. Docker makes exit codes of these texts: 127 for what is not there, 126 for what
/// cannot be run.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("exec: {name:?}: {reason}")]
pub struct LookupError {
    /// The program, as config.json names it.
    pub name: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a program's name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No directory of PATH has it.
    #[error("executable file not found in $PATH")]
    NotFound,
    /// A path that leads nowhere.
    #[error("stat {0}: {1}")]
    Stat(String, Errno),
    /// It is there and is no executable file.
    #[error("{0}")]
    Unusable(Errno),
}

/// The path to execute. A name with a slash is a path already.
pub fn find(name: &str, env: &[String]) -> Result<CString, LookupError> {
    let failed = |reason| LookupError {
        name: name.into(),
        reason,
    };
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(c_string(name)),
            Err((true, errno)) => Err(failed(Reason::Stat(name.into(), errno.into()))),
            Err((false, errno)) => Err(failed(Reason::Unusable(errno.into()))),
        };
    }
    let path = env
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or_default();
    for folder in path.split(':') {
        let folder = if folder.is_empty() { "." } else { folder };
        let candidate = format!("{}/{name}", folder.trim_end_matches('/'));
        if executable(&candidate).is_ok() {
            return Ok(c_string(&candidate));
        }
    }
    Err(failed(Reason::NotFound))
}

/// Whether `path` can be executed; else the answer and whether it is that of the lookup.
fn executable(path: &str) -> Result<(), (bool, Kernel)> {
    let stat = stat(path).map_err(|errno| (true, errno))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err((false, Kernel::ISDIR));
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // Kernels before 5.8 cannot ask for the effective user.
        Err(Kernel::NOSYS | Kernel::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Kernel::NOSYS | Kernel::PERM) => Err((false, Kernel::ACCESS)),
        Err(errno) => Err((false, errno)),
    }
}

fn c_string(path: &str) -> CString {
    CString::new(path).expect("validation has refused NUL bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, path: &str) -> String {
        find(name, &[format!("PATH={path}")]).unwrap_err().to_string()
    }

    #[test]
    fn a_name_is_looked_for_on_the_path_of_the_container() {
        assert_eq!(
            find("sh", &["PATH=/nowhere:/bin".into()]).unwrap().to_str(),
            Ok("/bin/sh")
        );
        assert_eq!(
            text("no-such-program", "/bin"),
            "exec: \"no-such-program\": executable file not found in $PATH"
        );
    }

    #[test]
    fn a_path_is_reported_with_its_own_trouble() {
        assert_eq!(
            text("/none", ""),
            "exec: \"/none\": stat /none: no such file or directory"
        );
        assert_eq!(text("/etc", ""), "exec: \"/etc\": is a directory");
        assert_eq!(text("/etc/passwd", ""), "exec: \"/etc/passwd\": permission denied");
    }
}
