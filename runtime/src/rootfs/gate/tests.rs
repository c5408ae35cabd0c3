use std::{fs, os::unix::fs::symlink};

use super::*;

fn gate() -> (tempfile::TempDir, Gate) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("root")).unwrap();
    let root = fs::File::open(folder.path().join("root")).unwrap();
    (folder, Gate::new(root.into()))
}

#[test]
fn missing_directories_and_files_are_made() {
    let (folder, gate) = gate();
    gate.ensure("/a/b/c", Kind::Directory).unwrap();
    gate.ensure("/a/b/f", Kind::File).unwrap();
    assert!(folder.path().join("root/a/b/c").is_dir());
    assert!(folder.path().join("root/a/b/f").is_file());
}

#[test]
fn a_link_to_the_host_ends_inside_the_root() {
    let (folder, gate) = gate();
    fs::create_dir(folder.path().join("outside")).unwrap();
    symlink(folder.path().join("outside"), folder.path().join("root/link")).unwrap();
    gate.ensure("/link/made", Kind::Directory).unwrap();
    assert!(!folder.path().join("outside/made").exists());
    let inside = format!("root{}/outside/made", folder.path().display());
    assert!(folder.path().join(inside).is_dir());
}

#[test]
fn dots_do_not_climb_out_of_the_root() {
    let (folder, gate) = gate();
    gate.ensure("/../../made", Kind::Directory).unwrap();
    assert!(folder.path().join("root/made").is_dir());
    symlink("../../../up", folder.path().join("root/climb")).unwrap();
    gate.ensure("/climb", Kind::Directory).unwrap();
    assert!(folder.path().join("root/up").is_dir());
}

#[test]
fn a_circle_of_links_is_an_error() {
    let (folder, gate) = gate();
    symlink("two", folder.path().join("root/one")).unwrap();
    symlink("one", folder.path().join("root/two")).unwrap();
    assert_eq!(gate.ensure("/one", Kind::Directory).unwrap_err(), Errno::LOOP);
}

#[test]
fn a_place_without_links_refuses_a_link() {
    let (folder, gate) = gate();
    symlink("/elsewhere", folder.path().join("root/proc")).unwrap();
    assert_eq!(gate.place_without_links("/proc").unwrap_err(), Errno::LOOP);
}
