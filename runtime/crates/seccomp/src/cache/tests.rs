use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::*;

fn profile(name: &str) -> LinuxSeccomp {
    let rule = format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO"}}"#);
    serde_json::from_str(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#
    ))
    .unwrap()
}

/// A cache with one entry, and the path of it.
fn cached() -> (TempDir, std::path::PathBuf) {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    compile_cached(&profile("mkdir"), dir.path()).unwrap();
    let entry = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    (dir, entry)
}

fn names(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_program_comes_back_as_it_was_compiled() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new");
    let compiled = compile(&profile("mkdir")).unwrap();
    for _ in 0..2 {
        let program = compile_cached(&profile("mkdir"), &path).unwrap();
        assert_eq!((program.flags(), program.bytes()), (compiled.flags(), compiled.bytes()));
    }
    assert_eq!(names(&path), 1);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_entry_is_read_and_not_compiled_again() {
    let (dir, entry) = cached();
    // Another program under the same name, with a checksum that is right: only a read brings it back.
    let other = compile(&profile("rmdir")).unwrap();
    fs::write(&entry, serialize(&other, &key(&profile("mkdir")))).unwrap();
    assert_eq!(
        compile_cached(&profile("mkdir"), dir.path()).unwrap().bytes(),
        other.bytes()
    );
}

#[test]
fn no_damage_loads_another_filter() {
    let (dir, entry) = cached();
    let whole = fs::read(&entry).unwrap();
    let wanted = compile(&profile("mkdir")).unwrap().bytes();
    for length in [0, 1, HEADER - 1, HEADER, HEADER + 8, whole.len() - 1] {
        fs::write(&entry, &whole[..length]).unwrap();
        assert_eq!(
            compile_cached(&profile("mkdir"), dir.path()).unwrap().bytes(),
            wanted,
            "{length} bytes"
        );
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(parse(&damaged, &key(&profile("mkdir"))).is_none(), "byte {at}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(parse(&longer, &key(&profile("mkdir"))).is_none());
    // It was written anew each time.
    assert_eq!(fs::read(&entry).unwrap(), whole);
}

#[test]
fn an_entry_of_another_profile_is_not_believed() {
    let (dir, entry) = cached();
    fs::rename(&entry, dir.path().join(file_name(&key(&profile("rmdir"))))).unwrap();
    let wanted = compile(&profile("rmdir")).unwrap().bytes();
    assert_eq!(compile_cached(&profile("rmdir"), dir.path()).unwrap().bytes(), wanted);
}

#[test]
fn a_directory_that_others_can_write_to_is_not_used() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    compile_cached(&profile("mkdir"), dir.path()).unwrap();
    assert_eq!(names(dir.path()), 0);
}

#[test]
fn a_link_is_not_followed() {
    let (dir, entry) = cached();
    let elsewhere = TempDir::new().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    assert!(open_dir(&link).is_none());

    let moved = elsewhere.path().join("entry");
    fs::rename(&entry, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &entry).unwrap();
    assert!(read(&open_dir(dir.path()).unwrap(), &key(&profile("mkdir"))).is_none());
}

#[test]
fn a_full_directory_is_emptied() {
    let (dir, _) = cached();
    for number in 0..MAX_ENTRIES {
        fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    compile_cached(&profile("rmdir"), dir.path()).unwrap();
    assert_eq!(names(dir.path()), 1);
}

#[test]
fn a_place_that_cannot_be_used_costs_only_the_cache() {
    compile_cached(&profile("mkdir"), Path::new("/proc/no/such/place")).unwrap();
    compile_cached(&profile("mkdir"), Path::new("/proc/self/status")).unwrap();
}
