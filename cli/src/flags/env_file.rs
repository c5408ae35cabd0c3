//! `--env` and `--env-file`, `--label` and `--label-file`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::command_error::CommandError;

/// Variables for a process: those of the files, then those of the flags, so that flags win. A name alone takes its value from
/// our own environment, and is left out where we have none.
pub fn environment(files: &[PathBuf], flags: &[String]) -> Result<Vec<String>, CommandError> {
    let mut variables = Vec::new();
    for file in files {
        for line in lines(file)? {
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() {
                return Err(invalid(file, &line, "no variable name"));
            }
            if name.contains(char::is_whitespace) {
                return Err(invalid(file, &line, "variable name contains whitespaces"));
            }
            variables.extend(valued(&line));
        }
    }
    for flag in flags {
        if flag.is_empty() || flag.starts_with('=') {
            return Err(CommandError::usage(format!("invalid environment variable: {flag}")));
        }
        variables.extend(valued(flag));
    }
    Ok(variables)
}

/// Labels of the files, then those of the flags.
pub fn labels(files: &[PathBuf], flags: &[String]) -> Result<Vec<String>, CommandError> {
    let mut labels = Vec::new();
    for file in files {
        labels.extend(lines(file)?);
    }
    labels.extend_from_slice(flags);
    match labels.iter().find(|label| label.is_empty() || label.starts_with('=')) {
        Some(label) => Err(CommandError::usage(format!("invalid label: '{label}': empty name"))),
        None => Ok(labels),
    }
}

fn valued(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

/// The lines that say something: no empty ones, no comments.
fn lines(file: &Path) -> Result<Vec<String>, CommandError> {
    let text = fs::read_to_string(file).map_err(|error| CommandError::file(file, &error).as_usage())?;
    let text = text.trim_start_matches('\u{feff}');
    let useful = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text
        .lines()
        .map(str::trim_start)
        .filter(useful)
        .map(str::to_owned)
        .collect())
}

fn invalid(file: &Path, line: &str, why: &str) -> CommandError {
    CommandError::usage(format!("invalid line {line:?} in {}: {why}", file.display()))
}
