//! Reading the configuration: one file, those that it imports, and their merging.
//!
//! As containerd merges them: a later file overrides an earlier one key by key, lists are put together, and an empty string is no
//! value.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::file::{File, Personality};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("read config {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not TOML, or has a key that is not known.
    #[error("config {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why, with the key and its line.
        source: Box<toml::de::Error>,
    },
    /// A file is of a generation with other keys.
    #[error("config {path}: version {version} is not supported, expected 1, 2 or 3")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: i64,
    },
    /// What a file imports is no pattern.
    #[error("config {path}: import {pattern:?}: `*` can stand in the last part alone")]
    Import {
        /// The file.
        path: PathBuf,
        /// What it imports.
        pattern: String,
    },
    /// A plugin's section has a key that is not known, or a value of the wrong kind.
    #[error("config: plugins.{name:?}")]
    Plugin {
        /// The plugin.
        name: String,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A duration is none.
    #[error("config: {key}: {text:?} is not a duration above zero such as 10s, 1m30s or 500ms")]
    Duration {
        /// The key.
        key: String,
        /// What it says.
        text: String,
    },
    /// A TCP address is none.
    #[error("config: {key}: {text:?} is no address such as 127.0.0.1:1338, [::1]:1338 or :1338")]
    Address {
        /// The key.
        key: &'static str,
        /// What it says.
        text: String,
    },
    /// A path cannot be made absolute.
    #[error("config: path {path:?}")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A setting asks for what this daemon does not do.
    #[error("config: {key} is not supported: {why}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// What is done instead.
        why: &'static str,
    },
    /// A required plugin is not here.
    #[error("config: required_plugins: {0} is not a plugin of this daemon; `plugins` of ctr lists those")]
    Required(String),
    /// A plugin that the others need cannot be disabled.
    #[error("config: disabled_plugins: {0} cannot be disabled, the others need it")]
    Needed(String),
}

/// The defaults, with `path` and what it imports over them.
pub fn load(personality: Personality, path: Option<&Path>) -> Result<File, ConfigError> {
    let mut merged = Table::try_from(File::of(personality)).expect("the defaults are TOML");
    let mut pending: Vec<PathBuf> = path.map(Path::to_owned).into_iter().collect();
    let mut loaded = BTreeSet::new();
    while !pending.is_empty() {
        let path = pending.remove(0);
        if loaded.insert(path.clone()) {
            let (file, table) = read(&path)?;
            for pattern in &file.imports {
                pending.extend(imported(&path, pattern)?);
            }
            merge(&mut merged, table);
        }
    }
    let path = path.unwrap_or(Path::new(""));
    merged.try_into().map_err(|source| parse_error(path, source))
}

/// A file's keys, which are all known.
fn read(path: &Path) -> Result<(File, Table), ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.into(),
        source,
    })?;
    let table: Table = toml::from_str(&text).map_err(|source| parse_error(path, source))?;
    let file: File = toml::from_str(&text).map_err(|source| parse_error(path, source))?;
    match file.version {
        1..=3 => Ok((file, table)),
        version => Err(ConfigError::Version {
            path: path.into(),
            version,
        }),
    }
}

fn parse_error(path: &Path, source: toml::de::Error) -> ConfigError {
    ConfigError::Parse {
        path: path.into(),
        source: source.into(),
    }
}

/// The files that `pattern` names, relative to the folder of the file that has it; a name without `*` must exist.
fn imported(importer: &Path, pattern: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let path = importer.parent().unwrap_or(Path::new("")).join(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(vec![path]);
    };
    let no_pattern = || ConfigError::Import {
        path: importer.into(),
        pattern: pattern.into(),
    };
    if folder.to_string_lossy().contains('*') {
        return Err(no_pattern());
    }
    if !name.contains('*') {
        return Ok(vec![path]);
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| ConfigError::Read {
            path: folder.into(),
            source,
        })?,
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut matching: Vec<PathBuf> = names
        .filter(|found| matches(name, &found.to_string_lossy()))
        .map(|found| folder.join(found))
        .collect();
    matching.sort();
    Ok(matching)
}

/// Whether `*` in `pattern`, each standing for any number of characters, make it `name`. A leading dot is matched by itself alone.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => {
                let new: Vec<_> = from.into_iter().filter(|item| !into.contains(item)).collect();
                into.extend(new);
            }
            (Some(_), Value::String(empty)) if empty.is_empty() => {}
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load_main(folder: &tempfile::TempDir) -> Result<File, ConfigError> {
        load(Personality::Davit, Some(&folder.path().join("main.toml")))
    }

    #[test]
    fn imports_override_the_file_that_names_them_and_lists_are_put_together() {
        let main = "version = 2\nroot = '/a'\nstate = '/b'\nimports = ['d/*.toml', 'main.toml']\n\
                    disabled_plugins = ['cri']\n[grpc]\nuid = 7\n[timeouts]\n'io.containerd.timeout.task.state' = '9s'\n";
        let files = folder(&[
            ("main.toml", main),
            (
                "d/1.toml",
                "root = '/c'\nstate = ''\ndisabled_plugins = ['cri', 'x']\n[grpc]\ngid = 8\n",
            ),
            ("d/2.toml", "root = '/d'\n"),
            ("d/.3.toml", "root = '/e'\n"),
            ("d/4.txt", "root = '/f'\n"),
        ]);
        let file = load_main(&files).unwrap();
        assert_eq!((file.root, file.state), ("/d".into(), "/b".into()));
        assert_eq!((file.grpc.uid, file.grpc.gid), (7, 8));
        assert_eq!(file.disabled_plugins, ["cri", "x"]);
        assert_eq!(file.timeouts["io.containerd.timeout.task.state"], "9s");
        assert!(file.timeouts.contains_key("io.containerd.timeout.shim.load"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file_and_key() {
        let said = |text: &str| {
            let error = load_main(&folder(&[("main.toml", text)])).unwrap_err();
            format!("{:#}", anyhow::Error::from(error))
        };
        for (text, words) in [
            ("rooot = '/a'\n", "unknown field `rooot`"),
            ("[grpc]\nuidd = 0\n", "unknown field `uidd`"),
            ("[debug]\nformat = 'xml'\n", "unknown variant `xml`, expected"),
            ("version = 9\n", "version 9 is not supported"),
            ("imports = ['missing.toml']\n", "missing.toml: No such file"),
            ("imports = ['*/x.toml']\n", "`*` can stand in the last part alone"),
            ("root = 3\n", "invalid type"),
        ] {
            let said = said(text);
            assert!(
                said.contains(words) && said.contains("main.toml") || said.contains("missing.toml"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, does) in [
            ("*.toml", "a.toml", true),
            ("*.toml", "a.tom", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("*", ".x", false),
            ("x*x", "x", false),
        ] {
            assert_eq!(matches(pattern, name), does, "{pattern} {name}");
        }
    }
}
