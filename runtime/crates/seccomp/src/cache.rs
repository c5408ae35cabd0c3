//! Compiled programs in files, one per profile.
//!
//! A file is `magic, key, flags, count, instructions, SHA-256 of all before`. It is written under another name and
//! renamed, and it is only believed when every part agrees, so a torn write, a full disk or a stray file costs one
//! compilation. The directory must belong to us and be closed to others: who can write there chooses the filters.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::Path,
};

use davit_sys::seccomp::MAX_INSTRUCTIONS;
use oci_spec::runtime::LinuxSeccomp;
use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, fstat, mkdirat, openat, renameat, unlinkat},
    io::Errno,
    process::geteuid,
};
use sha2::{Digest, Sha256};

use crate::{
    Program, SeccompError,
    canonical::{Key, key},
    compile,
    program::{INSTRUCTION_SIZE, decode},
};

const MAGIC: &[u8; 8] = b"davitbpf";
const HEADER: usize = MAGIC.len() + 32 + 4 + 4;
const CHECKSUM: usize = 32;
/// A machine has a handful of profiles; somebody who makes up new ones all the time must not fill /run.
const MAX_ENTRIES: usize = 256;

/// Like [`compile()`](crate::compile), but looks into `dir` first and leaves the program there.
///
/// `dir` is made when it is missing (its parent is not). A cache that cannot be used is no error: it only costs time.
pub fn compile_cached(profile: &LinuxSeccomp, dir: &Path) -> Result<Program, SeccompError> {
    let Some(dir) = open_dir(dir) else {
        return compile(profile);
    };
    let key = key(profile);
    if let Some(program) = read(&dir, &key) {
        return Ok(program);
    }
    let program = compile(profile)?;
    // Without the entry the next container compiles again.
    let _ = write(&dir, &key, &program);
    Ok(program)
}

/// The directory, if nobody else can write to it.
fn open_dir(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let dir = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {
            match mkdirat(CWD, path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(_) => return None,
            }
            openat(CWD, path, flags, Mode::empty()).ok()?
        }
        result => result.ok()?,
    };
    let stat = fstat(&dir).ok()?;
    (stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o077 == 0).then_some(dir)
}

fn read(dir: &OwnedFd, key: &Key) -> Option<Program> {
    let fd = openat(
        dir,
        file_name(key),
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut bytes = Vec::with_capacity(16 * 1024);
    let limit = HEADER + MAX_INSTRUCTIONS * INSTRUCTION_SIZE + CHECKSUM;
    File::from(fd).take(limit as u64 + 1).read_to_end(&mut bytes).ok()?;
    parse(&bytes, key)
}

fn write(dir: &OwnedFd, key: &Key, program: &Program) -> rustix::io::Result<()> {
    make_room(dir)?;
    let name = file_name(key);
    let temporary = format!("{name}.{}", std::process::id());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let result = file.write_all(&serialize(program, key));
    match result {
        Ok(()) => renameat(dir, &temporary, dir, &name),
        Err(_) => unlinkat(dir, &temporary, AtFlags::empty()),
    }
}

/// Empties a directory that holds too much. Readers that lose an entry compile.
fn make_room(dir: &OwnedFd) -> rustix::io::Result<()> {
    let names: Vec<_> = Dir::read_from(dir)?
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_name().to_bytes().starts_with(b"."))
        .collect();
    if names.len() >= MAX_ENTRIES {
        for entry in names {
            let _ = unlinkat(dir, entry.file_name(), AtFlags::empty());
        }
    }
    Ok(())
}

fn file_name(key: &Key) -> String {
    use std::fmt::Write;
    key.iter().fold(String::with_capacity(64), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn serialize(program: &Program, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + program.len() * INSTRUCTION_SIZE + CHECKSUM);
    bytes.extend(MAGIC);
    bytes.extend(key);
    bytes.extend(program.flags().to_le_bytes());
    bytes.extend((program.len() as u32).to_le_bytes());
    bytes.extend(program.bytes());
    let checksum = Sha256::digest(&bytes);
    bytes.extend(checksum);
    bytes
}

fn parse(bytes: &[u8], key: &Key) -> Option<Program> {
    let (covered, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    if Sha256::digest(covered).as_slice() != checksum {
        return None;
    }
    let body = covered.strip_prefix(MAGIC)?.strip_prefix(key)?;
    let (flags, rest) = body.split_first_chunk()?;
    let (count, instructions) = rest.split_first_chunk()?;
    let instructions = decode(instructions)?;
    if instructions.len() != u32::from_le_bytes(*count) as usize {
        return None;
    }
    Program::new(u32::from_le_bytes(*flags), instructions).ok()
}

#[cfg(test)]
mod tests;
