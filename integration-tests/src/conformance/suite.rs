//! containerd's client suite, built from its source as it stands but for where the names of its images come from.
//!
//! The suite reads its image names before it parses the flag that would change them. Go's build overlay puts a changed copy of
//! that one file in the place of the original, which is left alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use davit_integration_tests::{peers, workspace::run};
use serde_json::json;

use super::go;

/// The release that the suite is taken from.
const TAG: &str = "v2.1.9";
const REPOSITORY: &str = "https://github.com/containerd/containerd";

/// The file with the names of the images, and the call that takes them from a flag.
const IMAGE_LIST: &str = "integration/images/image_list.go";
const FROM_FLAG: &str = "initImages(*imageListFile)";

/// The variable with the path of the image list.
pub(super) const IMAGES: &str = "DAVIT_IMAGE_LIST";

/// The built suite.
pub(super) struct Suite {
    /// The test program.
    pub(super) program: PathBuf,
    /// A runtime that fails where a test asks it to.
    pub(super) failing_runtime: PathBuf,
}

impl Suite {
    /// Fetches the source, unless it is given, and builds the suite into a folder.
    pub(super) fn build(source: Option<&Path>, folder: &Path) -> Result<Self> {
        let source = match source {
            Some(source) => std::path::absolute(source)?,
            None => fetch()?,
        };
        fs::create_dir_all(folder)?;
        let suite = Self {
            program: folder.join("client.test"),
            failing_runtime: folder.join("runc-fp"),
        };
        let go = Go {
            program: go::program()?,
            source: &source,
            overlay: overlay(&source, folder)?,
        };
        eprintln!("building containerd's client suite {TAG} (some two minutes the first time)");
        go.build(&["test", "-c"], &suite.program, "./integration/client")?;
        go.build(
            &["build"],
            &suite.failing_runtime,
            "./integration/failpoint/cmd/runc-fp",
        )?;
        Ok(suite)
    }

    /// The names of its tests, or of those that match a regular expression.
    pub(super) fn tests(&self, filter: Option<&str>) -> Result<Vec<String>> {
        let list = format!("-test.list={}", filter.unwrap_or("."));
        // `-test.short` is what lets the suite list its tests without a daemon.
        let output = Command::new(&self.program).args(["-test.short", &list]).output()?;
        ensure!(output.status.success(), "{list}: {}", output.status);
        let text = String::from_utf8(output.stdout)?;
        let names = text
            .lines()
            .filter(|line| line.starts_with("Test") || line.starts_with("Fuzz"));
        Ok(names.map(str::to_owned).collect())
    }
}

struct Go<'a> {
    program: PathBuf,
    source: &'a Path,
    overlay: PathBuf,
}

impl Go<'_> {
    fn build(&self, verb: &[&str], to: &Path, package: &str) -> Result<()> {
        let mut go = Command::new(&self.program);
        // Static, since it runs among the peers. The checkout has all that it needs in `vendor`.
        go.current_dir(self.source)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=vendor -buildvcs=false");
        go.args(verb)
            .arg("-overlay")
            .arg(&self.overlay)
            .arg("-o")
            .arg(to)
            .arg(package);
        run(&mut go)
    }
}

/// A shallow clone in the cache, made once.
fn fetch() -> Result<PathBuf> {
    let folder = peers::folder().with_file_name(format!("containerd-{TAG}"));
    if folder.exists() {
        return Ok(folder);
    }
    let fresh = folder.with_extension("fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let clone = ["clone", "--quiet", "--depth=1", "--branch", TAG, REPOSITORY];
    run(Command::new("git").args(clone).arg(&fresh)).with_context(|| {
        format!("clone {REPOSITORY}; where there is no network, `--source DIR` names a checkout of {TAG}")
    })?;
    fs::rename(fresh, &folder)?;
    Ok(folder)
}

/// Writes the changed copy, and the file that tells Go of it.
fn overlay(source: &Path, folder: &Path) -> Result<PathBuf> {
    let original = source.join(IMAGE_LIST);
    let text =
        fs::read_to_string(&original).with_context(|| format!("{} is no checkout of containerd", source.display()))?;
    ensure!(
        text.contains(FROM_FLAG),
        "{}: no {FROM_FLAG}: is this containerd {TAG}?",
        original.display()
    );
    let changed = folder.join("image_list.go");
    fs::write(
        &changed,
        text.replace(FROM_FLAG, &format!("initImages(os.Getenv({IMAGES:?}))")),
    )?;
    let overlay = folder.join("overlay.json");
    fs::write(
        &overlay,
        json!({"Replace": {original.display().to_string(): changed}}).to_string(),
    )?;
    Ok(overlay)
}
