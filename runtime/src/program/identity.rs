//! Who the program runs as.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use davit_spec::User;
use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, Stat, Uid, fchown, fcntl_setfl, fstat, makedev, openat},
    io::Errno as Kernel,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

/// The most that is read of the container's /etc/passwd.
const PASSWD_LIMIT: u64 = 4 << 20;

/// Why the user could not be changed to.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A kernel call failed.
    #[error("unable to set up user: {0}")]
    Call(#[from] CallError),
    /// A group that the user namespace does not have.
    #[error("cannot setgid to unmapped gid {0} in user namespace")]
    UnmappedGroup(u32),
    /// A user that the user namespace does not have.
    #[error("cannot setuid to unmapped uid {0} in user namespace")]
    UnmappedUser(u32),
}

/// Changes to the user, keeping the permitted capabilities for what is still to be done. An ordinary user's runtime keeps
/// the groups, too: one of them may be what a file is refused to.
pub fn change(user: &User, keep_groups: bool) -> Result<(), IdentityError> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups: Vec<Gid> = user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_keep_capabilities(true).attempt("keep", "capabilities")?;
    if !keep_groups {
        match set_thread_groups(&groups) {
            Err(Kernel::PERM) if groups_are_denied() => {}
            set => set.attempt("setgroups", format_args!("{:?}", user.additional_gids))?,
        }
    }
    change_group(gid)?;
    change_user(uid)?;
    Ok(set_keep_capabilities(false).attempt("stop keeping", "capabilities")?)
}

fn change_group(gid: Gid) -> Result<(), IdentityError> {
    match set_thread_res_gid(gid, gid, gid) {
        Err(Kernel::INVAL) => Err(IdentityError::UnmappedGroup(gid.as_raw())),
        set => Ok(set.attempt("setgid", gid.as_raw())?),
    }
}

fn change_user(uid: Uid) -> Result<(), IdentityError> {
    match set_thread_res_uid(uid, uid, uid) {
        Err(Kernel::INVAL) => Err(IdentityError::UnmappedUser(uid.as_raw())),
        set => Ok(set.attempt("setuid", uid.as_raw())?),
    }
}

/// Whether the user namespace can never change groups. Asked of procfs and nothing else: the container's /proc could be
/// anything.
fn groups_are_denied() -> bool {
    let denied = ProcFs::open().and_then(|proc| proc.read("self/setgroups"));
    denied.is_ok_and(|word| word.trim_end() == "deny")
}

/// Gives the standard streams to the user, who could else not open them anew through /dev/stdout. A null device becomes
/// the container's own: of the host's it could change the mode for everybody, and no checkpoint could name it.
pub fn own_standard_streams(user: &User) -> Result<(), IdentityError> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut null = None;
    for (number, stream) in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().enumerate() {
        let Ok(stat) = fstat(stream) else {
            continue;
        };
        if is_null(&stat) {
            if let Some(null) = null.get_or_insert_with(own_null_device) {
                put(null, number).attempt("set", "standard stream")?;
            }
            continue;
        }
        if stat.st_uid == user.uid {
            continue;
        }
        // The group stays: a terminal's is that of all terminals.
        match fchown(stream, Some(Uid::from_raw(user.uid)), None) {
            // A pipe of another user namespace or a file on a read-only mount: as good as it gets.
            Ok(()) | Err(Kernel::INVAL | Kernel::PERM | Kernel::ROFS) => {}
            Err(errno) => Err(errno).attempt("change owner of", "standard stream")?,
        }
    }
    Ok(())
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
}

/// The null device of the root that we are in; `None` where there is none, or something else of that name.
fn own_null_device() -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let null = openat(CWD, "/dev/null", flags, Mode::empty()).ok()?;
    // Something else of that name might have let us wait; the program's stream is an ordinary one.
    fcntl_setfl(&null, OFlags::empty()).ok()?;
    fstat(&null).is_ok_and(|stat| is_null(&stat)).then_some(null)
}

fn put(fd: &OwnedFd, number: usize) -> Result<(), Kernel> {
    match number {
        0 => dup2_stdin(fd),
        1 => dup2_stdout(fd),
        _ => dup2_stderr(fd),
    }
}

/// Adds HOME from the container's /etc/passwd where the config has none.
pub fn add_home(env: &mut Vec<String>, user: &User) {
    if env
        .iter()
        .any(|variable| variable.starts_with("HOME=") && variable.len() > 5)
    {
        return;
    }
    let passwd = passwd(Path::new("/etc/passwd")).unwrap_or_default();
    let home = home_of(&passwd, user.uid).unwrap_or("/");
    env.retain(|variable| variable != "HOME=");
    env.push(format!("HOME={home}"));
}

/// The image chooses what lies there: only an ordinary file is read, since a FIFO would be waited at for ever, and no
/// more of it than any real one has.
fn passwd(path: &Path) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::empty()).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(file).take(PASSWD_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A home with a NUL byte, which no environment can have, is none.
fn home_of(passwd: &str, uid: u32) -> Option<&str> {
    let home = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.nth(2)?.parse() == Ok(uid)).then(|| fields.nth(2)).flatten()
    });
    home.filter(|home| !home.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_an_ordinary_file_is_read_for_the_home() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(passwd(&path), None);
        assert_eq!(passwd(Path::new("/dev/zero")), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"b\xff:x:7:7::/home/b:\n").unwrap();
        assert_eq!(
            passwd(&path).as_deref().and_then(|text| home_of(text, 7)),
            Some("/home/b")
        );
    }

    #[test]
    fn the_home_of_a_user_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbob:x:1000:1000::/home/bob:/bin/sh\n";
        assert_eq!(home_of(passwd, 1000), Some("/home/bob"));
        assert_eq!(home_of(passwd, 7), None);
    }

    #[test]
    fn a_user_whose_home_has_a_nul_byte_is_at_home_in_the_root() {
        assert_eq!(home_of("bob:x:7:7::/home\0/bob:/bin/sh\n", 7), None);
    }
}
