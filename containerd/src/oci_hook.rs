//! `davit-containerd oci-hook`: runs a program as a hook of the OCI runtime, and tells it of the container.
//!
//! A hook's arguments are fixed in the container's configuration, where its process id is not known yet. So they are templates, in
//! the form of Go's text/template as far as it makes sense here: `{{pid}}`, `{{annotation "key"}}`, and the others of
//! [`Hook::value`].

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt, ffi::OsStringExt, process::CommandExt},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;

/// The state that the runtime writes to a hook's standard input (runtime-spec, "State").
#[derive(Deserialize)]
struct State {
    id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    pid: i64,
    bundle: PathBuf,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Spec {
    root: Option<Root>,
}

#[derive(Deserialize)]
struct Root {
    path: PathBuf,
}

struct Hook {
    state: State,
    rootfs: PathBuf,
}

/// Reads the state from standard input and becomes the program; returns only with an error.
pub fn run(program: &[OsString]) -> anyhow::Result<()> {
    let state: State = serde_json::from_reader(io::stdin().lock()).context("container's state on standard input")?;
    let path = state.bundle.join("config.json");
    let spec = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let spec: Spec = serde_json::from_slice(&spec).with_context(|| format!("read {}", path.display()))?;
    let root = spec.root.map(|root| root.path).unwrap_or_default();
    let hook = Hook {
        rootfs: state.bundle.join(root),
        state,
    };
    let words = program.iter().map(|word| hook.fill_in(word));
    let words = words.collect::<anyhow::Result<Vec<_>>>()?;
    let variables = env::vars_os().map(|(name, value)| Ok((name, hook.fill_in(&value)?)));
    let variables = variables.collect::<anyhow::Result<Vec<_>>>()?;
    let (program, arguments) = words.split_first().context("no program")?;
    let error = Command::new(program).args(arguments).env_clear().envs(variables).exec();
    Err(error).with_context(|| format!("run {}", program.display()))
}

impl Hook {
    /// Replaces every `{{…}}`. What is outside of them need not be text.
    fn fill_in(&self, word: &OsStr) -> anyhow::Result<OsString> {
        let mut rest = word.as_bytes();
        let mut filled = Vec::new();
        while let Some(start) = find(rest, b"{{") {
            let inside = &rest[start + 2..];
            let end = find(inside, b"}}").ok_or_else(|| anyhow!("{}: `{{{{` without `}}}}`", word.display()))?;
            let action = String::from_utf8_lossy(&inside[..end]);
            let value = self.value(action.trim()).with_context(|| word.display().to_string())?;
            filled.extend_from_slice(&rest[..start]);
            filled.extend_from_slice(value.as_bytes());
            rest = &inside[end + 2..];
        }
        filled.extend_from_slice(rest);
        Ok(OsString::from_vec(filled))
    }

    fn value(&self, action: &str) -> anyhow::Result<OsString> {
        let (name, argument) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
        Ok(match (name, argument.trim()) {
            ("id", "") => self.state.id.clone().into(),
            ("bundle", "") => self.state.bundle.clone().into(),
            ("rootfs", "") => self.rootfs.clone().into(),
            ("pid", "") => self.state.pid.to_string().into(),
            ("status", "") => self.state.status.clone().into(),
            ("annotation", key) => self.annotation(key)?.into(),
            _ => bail!(
                "{{{{{action}}}}} is not one of {{{{id}}}}, {{{{bundle}}}}, {{{{rootfs}}}}, {{{{pid}}}}, {{{{status}}}} and \
                 {{{{annotation \"KEY\"}}}}"
            ),
        })
    }

    /// The annotation of a key in quotes or backquotes; one that is not there is empty.
    fn annotation(&self, quoted: &str) -> anyhow::Result<String> {
        let inside = |quote: char| quoted.strip_prefix(quote)?.strip_suffix(quote);
        let key = match inside('`') {
            Some(raw) => raw.to_owned(),
            None => {
                serde_json::from_str(quoted).with_context(|| format!("annotation {quoted}: not a key in quotes"))?
            }
        };
        Ok(self.state.annotations.get(&key).cloned().unwrap_or_default())
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> Hook {
        Hook {
            rootfs: "/b/rootfs".into(),
            state: State {
                id: "c1".into(),
                status: "creating".into(),
                pid: 42,
                bundle: "/b".into(),
                annotations: [("a.b/c".to_owned(), "v".to_owned())].into(),
            },
        }
    }

    #[test]
    fn every_field_is_filled_in_and_the_rest_stays() {
        for (word, filled) in [
            ("plain", "plain"),
            ("{{pid}}", "42"),
            ("a{{ id }}b{{status}}c", "ac1bcreatingc"),
            ("{{bundle}}:{{rootfs}}", "/b:/b/rootfs"),
            (
                "{{annotation \"a.b/c\"}}{{annotation `a.b/c`}}{{ annotation \"x\" }}",
                "vv",
            ),
            ("}} { {x}", "}} { {x}"),
        ] {
            assert_eq!(hook().fill_in(word.as_ref()).unwrap(), filled);
        }
        let odd = OsStr::from_bytes(b"\xff{{pid}}\xfe");
        assert_eq!(hook().fill_in(odd).unwrap().as_bytes(), b"\xff42\xfe");
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        for word in [
            "{{pid",
            "{{nothing}}",
            "{{pid 1}}",
            "{{annotation x}}",
            "{{annotation \"x}}",
            "{{}}",
        ] {
            let error = format!("{:#}", hook().fill_in(word.as_ref()).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
