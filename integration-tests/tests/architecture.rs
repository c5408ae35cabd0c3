//! What is absent from each part, as ARCHITECTURE.md states it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use davit_integration_tests::workspace;
use serde_json::Value;

/// Which crates of ours a folder's crates may link, as prefixes of paths. Programs meet through `proto` and sockets alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &["proto"]),
    ("runtime", &["runtime"]),
    ("shim", &["shim", "proto"]),
    ("containerd", &["containerd", "proto"]),
    ("engine", &["engine", "proto"]),
    ("cli", &["cli"]),
    ("integration-tests", &["proto"]),
];

#[test]
fn a_part_links_its_own_crates_and_the_wire_types_only() {
    for package in packages() {
        let part = part_of(&package.folder);
        let (_, allowed) = ARROWS
            .iter()
            .find(|(name, _)| *name == part)
            .unwrap_or_else(|| panic!("no arrows for {part}"));
        for dependency in &package.paths {
            let target = part_of(dependency);
            assert!(
                allowed.contains(&target.as_str()),
                "{} must not link {}",
                package.name,
                dependency.display()
            );
        }
    }
}

#[test]
fn the_runtime_has_no_async_executor_anywhere_below_it() {
    let below = closure("davit-runtime");
    for absent in ["tokio", "async-io", "smol", "async-std", "zbus"] {
        assert!(
            !below.contains(absent),
            "the runtime must stay single-threaded until it has forked: {absent} is linked"
        );
    }
}

#[test]
fn the_engine_and_the_command_line_link_neither_the_store_nor_the_kernel_rooms_of_others() {
    assert!(!closure("davit").contains("redb"));
    for absent in ["ttrpc", "tar-rs", "davit-tasks", "davit-snapshots", "davit-content"] {
        assert!(!closure("davitd").contains(absent), "{absent}");
    }
}

#[test]
fn unsafe_code_is_written_in_one_crate() {
    for file in sources(&workspace::root()) {
        let text = fs::read_to_string(&file).expect("a source file is text");
        let is_home = file.starts_with(workspace::root().join("runtime/crates/sys"));
        let mentions = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
                || code.contains("unsafe extern")
        });
        // This file names what it looks for.
        assert!(
            is_home || !mentions || file.ends_with("tests/architecture.rs"),
            "unsafe code in {}",
            file.display()
        );
    }
}

#[test]
fn the_repository_names_no_place_outside_itself() {
    let listed = Command::new("git")
        .arg("-C")
        .arg(workspace::root())
        .args(["ls-files", "-z"])
        .output()
        .expect("git");
    for name in String::from_utf8_lossy(&listed.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let Ok(text) = fs::read_to_string(workspace::root().join(name)) else {
            continue;
        };
        for absent in [
            concat!("../", "shared"),
            concat!("/work/", "main"),
            concat!("/work/", "shared"),
        ] {
            assert!(!text.contains(absent), "{name} mentions {absent}");
        }
    }
}

struct Package {
    name: String,
    folder: PathBuf,
    /// Folders of the workspace's crates that it links, tests excepted.
    paths: Vec<PathBuf>,
}

fn metadata(arguments: &[&str]) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(workspace::root())
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(arguments);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn packages() -> Vec<Package> {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("a list").iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("a list").iter();
            let linked = dependencies.filter(|dependency| dependency["kind"] != "dev");
            Package {
                name: text(&package["name"]),
                folder: Path::new(&text(&package["manifest_path"]))
                    .parent()
                    .expect("a folder")
                    .to_owned(),
                paths: linked
                    .filter_map(|dependency| Some(dependency["path"].as_str()?.into()))
                    .collect(),
            }
        })
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// The top-level folder that a crate lies in.
fn part_of(folder: &Path) -> String {
    let inside = folder
        .strip_prefix(workspace::root())
        .expect("a crate of the workspace");
    let first = inside.components().next().expect("a folder");
    first.as_os_str().to_string_lossy().into_owned()
}

/// The names of all packages that `name` links, directly or not; build and test dependencies excepted.
fn closure(name: &str) -> BTreeSet<String> {
    let metadata = metadata(&["--filter-platform=x86_64-unknown-linux-gnu"]);
    let names: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().expect("a list") {
        let links = node["deps"].as_array().expect("a list").iter().filter(|dependency| {
            dependency["dep_kinds"]
                .as_array()
                .expect("a list")
                .iter()
                .any(|kind| kind["kind"].is_null())
        });
        edges.insert(
            text(&node["id"]),
            links.map(|dependency| text(&dependency["pkg"])).collect(),
        );
    }
    let start = names
        .iter()
        .find(|(_, known)| *known == name)
        .expect("a package of the workspace")
        .0
        .clone();
    let (mut seen, mut unseen) = (BTreeSet::new(), vec![start]);
    while let Some(id) = unseen.pop() {
        if seen.insert(names[&id].clone()) {
            unseen.extend(edges[&id].iter().cloned());
        }
    }
    seen
}

/// All Rust files of the tree, build output excepted.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the tree").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
