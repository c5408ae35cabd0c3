use serde::{Deserialize, Serialize};

use crate::error::SpecError;

/// What `--security-opt` decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityOptions {
    /// Which system calls are allowed.
    pub seccomp: SeccompChoice,
    /// Whether execve may not raise privileges.
    pub no_new_privileges: bool,
    /// `systempaths=unconfined`: nothing masked, nothing read-only.
    pub unconfined_paths: bool,
    /// The options as the user wrote them.
    pub given: Vec<String>,
}

/// Which seccomp profile applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompChoice {
    /// The engine's own.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// Docker's profile format, as JSON.
    Profile(String),
}

impl SecurityOptions {
    /// Parses the options in the order given.
    pub fn parse(given: Vec<String>) -> Result<Self, SpecError> {
        let mut options = Self::default();
        for text in &given {
            options.apply(text)?;
        }
        options.given = given;
        Ok(options)
    }

    fn apply(&mut self, text: &str) -> Result<(), SpecError> {
        // `key:value` is the form of API 1.22 and before, which clients still send.
        let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some(parts) => parts,
            None => (text, ""),
        };
        match (key, value) {
            ("no-new-privileges", "" | "true") => self.no_new_privileges = true,
            ("no-new-privileges", "false") => self.no_new_privileges = false,
            ("seccomp", "unconfined") => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", "builtin") => self.seccomp = SeccompChoice::Default,
            ("seccomp", profile) => {
                crate::seccomp::check_profile(profile)?;
                self.seccomp = SeccompChoice::Profile(profile.into());
            }
            ("systempaths", "unconfined") => self.unconfined_paths = true,
            // Labels and profiles of modules that are off: nothing to disable.
            ("label", "disable") | ("apparmor", "unconfined") => {}
            ("label" | "apparmor" | "writable-cgroups", _) => {
                return Err(SpecError::unsupported(format!("--security-opt {text}")));
            }
            _ => return Err(SpecError::invalid(format!("invalid --security-opt 2: {text:?}"))),
        }
        Ok(())
    }
}
