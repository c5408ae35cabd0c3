//! Where the sources and the built programs are, and building them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For tests.
    Debug,
    /// For users and benchmarks.
    Release,
}

const SHIM: &str = "containerd-shim-davit-v1";

/// How the shim is built for users: small, since there is one for each container (see the workspace's Cargo.toml).
const SMALL: &str = "shim";

/// Package, program, and whether it is linked statically: a shim and a runtime are started once per container, a static program
/// starts in half the time, and it needs nothing of the file system that it runs in.
const PROGRAMS: &[(&str, &str, bool)] = &[
    ("davit", "davit", false),
    ("davitd", "davitd", false),
    ("davit-containerd", "davit-containerd", false),
    (SHIM, SHIM, true),
    ("davit-runtime", "davit-runtime", true),
];

/// The top of the source tree.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies in the workspace").to_owned()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The folder in which [`build`] leaves the programs of a profile.
///
/// Not cargo's own folder: there a later `cargo test` puts dynamic builds over the static ones.
pub fn programs(profile: Profile) -> PathBuf {
    target().join("programs").join(match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    })
}

/// The programs that tests run: those named by `DAVIT_PROGRAMS`, else the debug ones.
///
/// # Panics
/// Where they are not built: `cargo xtask test` builds them before it starts the tests.
pub fn tested_programs() -> PathBuf {
    let folder = env::var_os("DAVIT_PROGRAMS").map_or_else(|| programs(Profile::Debug), PathBuf::from);
    assert!(
        folder.join("davit-runtime").exists(),
        "no programs in {folder:?}: run `cargo xtask build` first"
    );
    folder
}

/// Builds every program and puts it into [`programs`].
pub fn build(profile: Profile) -> Result<PathBuf> {
    let folder = programs(profile);
    fs::create_dir_all(&folder)?;
    let mut dynamic = cargo("build", name_of("", profile));
    for (package, program, _) in PROGRAMS.iter().filter(|(_, _, is_static)| !is_static) {
        dynamic.args(["-p", package, "--bin", program]);
    }
    run(&mut dynamic)?;
    if profile == Profile::Debug {
        build_other_shim()?;
    }
    for (package, program, _) in PROGRAMS.iter().filter(|(_, _, is_static)| *is_static) {
        build_static(package, program, profile)?;
    }
    for (_, program, _) in PROGRAMS.iter().filter(|(_, _, is_static)| !is_static) {
        stage(program, name_of(program, profile), &folder)?;
    }
    Ok(folder)
}

/// Builds one program that is linked statically, and puts it into [`programs`].
pub fn build_static(package: &str, program: &str, profile: Profile) -> Result<()> {
    let name = name_of(program, profile);
    compile_static(package, program, name, &[])?;
    stage(program, name, &programs(profile))
}

/// The shim, compiled with other settings: a program that knows the same and is laid out differently.
pub fn other_shim() -> PathBuf {
    target().join("programs/debug-other").join(SHIM)
}

/// Builds [`other_shim`]. Cargo's own folder has the usual one again only after the next build of that.
fn build_other_shim() -> Result<()> {
    let setting = format!("profile.dev.package.{SHIM}.opt-level=\"s\"");
    compile_static(SHIM, SHIM, "dev", &["--config", &setting])?;
    let path = other_shim();
    stage(SHIM, "dev", path.parent().expect("it lies in a folder"))
}

fn compile_static(package: &str, program: &str, profile: &str, settings: &[&str]) -> Result<()> {
    let mut cargo = cargo_static(profile);
    cargo.args(settings).args(["-p", package, "--bin", program, "--"]);
    // RUSTFLAGS would reach the procedural macros, which cannot be static: only the program itself is linked so. Packed, the
    // relocations of a position-independent program take a twentieth of the room.
    run(cargo.args([
        "-C",
        "target-feature=+crt-static",
        "-C",
        "link-arg=-Wl,-z,pack-relative-relocs",
    ]))
}

/// Cargo's profile for a program.
fn name_of(program: &str, profile: Profile) -> &'static str {
    match profile {
        Profile::Debug => "dev",
        Profile::Release if program.starts_with("containerd-shim-") => SMALL,
        Profile::Release => "release",
    }
}

fn cargo_static(profile: &str) -> Command {
    let mut cargo = cargo("rustc", profile);
    cargo
        .env("LIBSECCOMP_LINK_TYPE", "static")
        .env("LIBSECCOMP_LIB_PATH", library_folder());
    if let Some(commit) = commit() {
        cargo.env("DAVIT_COMMIT", commit);
    }
    cargo
}

/// What `davit-runtime --version` names, where this is a checkout.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    let output = git
        .current_dir(root())
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Debian's folder for libraries of this architecture.
fn library_folder() -> String {
    format!("/usr/lib/{}-linux-gnu", env::consts::ARCH)
}

fn cargo(verb: &str, profile: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).args([verb, "--locked", "--profile", profile]);
    cargo
}

/// Puts a fresh copy in place by rename: the old one may be running.
fn stage(program: &str, profile: &str, folder: &Path) -> Result<()> {
    // Cargo's folder of a profile has its name, but for the one it began with.
    let built = target()
        .join(if profile == "dev" { "debug" } else { profile })
        .join(program);
    fs::create_dir_all(folder)?;
    let fresh = folder.join(format!(".{program}"));
    fs::copy(&built, &fresh).with_context(|| format!("{built:?} was not built"))?;
    fs::rename(&fresh, folder.join(program))?;
    Ok(())
}

/// Runs a command that prints for the user.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
