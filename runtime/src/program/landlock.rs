//! Landlock by an annotation: what a program may reach of its own container, whoever it runs as.
//!
//! `org.davit.landlock` holds a JSON object (see deploy/docs/LANDLOCK.md). The paths are opened while the process still
//! is root in the container; the restriction itself comes last, before the seccomp filter, on run and on exec alike.

use std::{collections::BTreeMap, fmt, os::fd::OwnedFd};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, openat},
    io::Errno as Kernel,
};
use serde::Deserialize;

use crate::{
    errno::{Attempt, CallError},
    log,
};

/// The annotation's name.
pub const ANNOTATION: &str = "org.davit.landlock";

/// Why a program could not be restricted as its annotation says.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// Not the JSON that is described.
    #[error("annotation {ANNOTATION}: {0}")]
    Json(#[from] serde_json::Error),
    /// Nothing would be restricted.
    #[error(
        "annotation {ANNOTATION}: asks for no restriction: name readOnly, readWrite, execute, bindTcp, connectTcp or scope"
    )]
    Empty,
    /// A path that depends on where the process is.
    #[error("annotation {ANNOTATION}: {0:?} is not an absolute path")]
    Relative(String),
    /// The kernel is too old, or has Landlock off.
    #[error(
        "annotation {ANNOTATION}: {what} needs Landlock ABI {needed} ({kernel}), and this kernel has {found}; \"bestEffort\": true takes what there is"
    )]
    TooOld {
        /// What was asked.
        what: &'static str,
        /// The first version that has it.
        needed: u32,
        /// The kernel that came with.
        kernel: &'static str,
        /// The version here.
        found: Found,
    },
    /// A path that cannot be opened.
    #[error("annotation {ANNOTATION}: {0}")]
    Path(#[from] CallError),
    /// The kernel refused.
    #[error("annotation {ANNOTATION}: {0}")]
    Kernel(#[from] RulesetError),
}

/// What the running kernel has.
#[derive(Debug)]
pub struct Found(u32);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none (is landlock among the lsm= of its command line?)"),
            abi => write!(f, "ABI {abi}"),
        }
    }
}

/// A restriction, as the annotation says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Landlock {
    /// May be read, with all below.
    read_only: Vec<String>,
    /// May be read, written, made and removed, with all below.
    read_write: Vec<String>,
    /// May be read and executed, with all below.
    execute: Vec<String>,
    /// TCP ports that may be listened at.
    bind_tcp: Option<Vec<u16>>,
    /// TCP ports that may be connected to.
    connect_tcp: Option<Vec<u16>>,
    /// What ends at the container's own processes.
    scope: Vec<ScopeName>,
    /// Whether a kernel that lacks some of it may do the rest.
    best_effort: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ScopeName {
    AbstractUnixSocket,
    Signal,
}

impl Landlock {
    /// What a container's annotations ask for.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, LandlockError> {
        let Some(text) = annotations.get(ANNOTATION) else {
            return Ok(None);
        };
        let wanted: Landlock = serde_json::from_str(text)?;
        if let Some(path) = wanted
            .paths()
            .find(|path| !path.starts_with('/') || path.contains('\0'))
        {
            return Err(LandlockError::Relative(path.clone()));
        }
        if !wanted.restricts_files() && !wanted.restricts_network() && wanted.scope.is_empty() {
            return Err(LandlockError::Empty);
        }
        wanted.check(davit_sys::landlock::abi())?;
        Ok(Some(wanted))
    }

    /// Opens the paths. To be called in the container, as root; binds nobody yet.
    pub fn prepare(&self) -> Result<Option<Confinement>, LandlockError> {
        if self.best_effort && davit_sys::landlock::abi() == 0 {
            log::warn(&format!(
                "annotation {ANNOTATION} has no effect: this kernel has no Landlock"
            ));
            return Ok(None);
        }
        let mut rules = self.ruleset()?.create()?.no_new_privs(false);
        for (paths, access) in [
            (&self.read_only, AccessFs::ReadFile | AccessFs::ReadDir),
            (
                &self.execute,
                AccessFs::Execute | AccessFs::ReadFile | AccessFs::ReadDir,
            ),
            (&self.read_write, handled() & !BitFlags::from(AccessFs::Execute)),
        ] {
            for path in paths {
                rules = self.allow_path(rules, path, access)?;
            }
        }
        for (ports, access) in [
            (&self.bind_tcp, AccessNet::BindTcp),
            (&self.connect_tcp, AccessNet::ConnectTcp),
        ] {
            for port in ports.iter().flatten() {
                rules = rules.add_rule(NetPort::new(*port, access))?;
            }
        }
        Ok(Some(Confinement(rules)))
    }

    fn ruleset(&self) -> Result<Ruleset, RulesetError> {
        let mut rules = Ruleset::default().set_compatibility(match self.best_effort {
            true => CompatLevel::BestEffort,
            false => CompatLevel::HardRequirement,
        });
        if self.restricts_files() {
            rules = rules.handle_access(AccessFs::from_all(ABI::V3))?;
            // Device nodes are the container's own; a kernel that can restrict them, too, does.
            rules = rules
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::IoctlDev)?;
        }
        for (ports, access) in [
            (&self.bind_tcp, AccessNet::BindTcp),
            (&self.connect_tcp, AccessNet::ConnectTcp),
        ] {
            if ports.is_some() {
                rules = rules.handle_access(access)?;
            }
        }
        for scope in &self.scope {
            rules = rules.scope(match scope {
                ScopeName::AbstractUnixSocket => Scope::AbstractUnixSocket,
                ScopeName::Signal => Scope::Signal,
            })?;
        }
        Ok(rules)
    }

    fn allow_path(
        &self,
        rules: RulesetCreated,
        path: &str,
        access: BitFlags<AccessFs>,
    ) -> Result<RulesetCreated, LandlockError> {
        let place = match open(path) {
            Err(err) if self.best_effort && err.errno.is(Kernel::NOENT) => return Ok(rules),
            place => place?,
        };
        let is_directory = fstat(&place).is_ok_and(|stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            kind == FileType::Directory
        });
        let access = match is_directory {
            true => access,
            // What only a directory can be asked for.
            false => access & AccessFs::from_file(ABI::V5),
        };
        Ok(rules
            .set_compatibility(CompatLevel::BestEffort)
            .add_rule(PathBeneath::new(place, access))?)
    }

    /// Refuses what a kernel of this version would leave open.
    fn check(&self, found: u32) -> Result<(), LandlockError> {
        let needs = [
            // Before ABI 3 what may only be read could be cut off at any length.
            (self.restricts_files(), "a list of paths", 3, "Linux 6.2"),
            (self.restricts_network(), "a list of TCP ports", 4, "Linux 6.7"),
            (!self.scope.is_empty(), "scope", 6, "Linux 6.12"),
        ];
        match needs.iter().find(|(asked, _, needed, _)| *asked && found < *needed) {
            Some((_, what, needed, kernel)) if !self.best_effort => Err(LandlockError::TooOld {
                what,
                needed: *needed,
                kernel,
                found: Found(found),
            }),
            _ => Ok(()),
        }
    }

    fn restricts_files(&self) -> bool {
        self.paths().next().is_some()
    }

    fn restricts_network(&self) -> bool {
        self.bind_tcp.is_some() || self.connect_tcp.is_some()
    }

    fn paths(&self) -> impl Iterator<Item = &String> {
        [&self.read_only, &self.read_write, &self.execute].into_iter().flatten()
    }
}

/// All rights to files that a ruleset with paths decides about.
fn handled() -> BitFlags<AccessFs> {
    AccessFs::from_all(ABI::V3) | AccessFs::IoctlDev
}

fn open(path: &str) -> Result<OwnedFd, CallError> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).attempt("open", path)
}

/// A restriction with its paths open.
#[derive(Debug)]
pub struct Confinement(RulesetCreated);

impl Confinement {
    /// Binds the calling process, for good. Needs no_new_privs or CAP_SYS_ADMIN.
    pub fn bind(&self) -> Result<(), LandlockError> {
        let rules = self.0.try_clone().attempt("copy", "Landlock ruleset")?;
        Ok(rules.restrict_self().map(drop)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<Landlock>, LandlockError> {
        Landlock::of(&BTreeMap::from([(ANNOTATION.into(), json.into())]))
    }

    fn refusal(json: &str) -> String {
        read(json).unwrap_err().to_string()
    }

    #[test]
    fn without_the_annotation_nothing_is_restricted() {
        assert_eq!(Landlock::of(&BTreeMap::new()).unwrap(), None);
    }

    #[test]
    fn what_is_not_described_is_refused() {
        assert!(refusal("no").contains("expected"));
        assert!(refusal(r#"{"readOnyl": ["/"]}"#).contains("unknown field `readOnyl`"));
        assert!(refusal("{}").contains("asks for no restriction"));
        assert!(refusal(r#"{"readOnly": ["etc"]}"#).contains("\"etc\" is not an absolute path"));
        assert!(refusal(r#"{"bindTcp": [65536]}"#).contains("65536"));
        assert!(refusal(r#"{"scope": ["all"]}"#).contains("unknown variant `all`"));
    }

    #[test]
    fn a_kernel_that_lacks_what_is_asked_is_named_unless_it_need_not_have_it() {
        let wanted = |json: &str| serde_json::from_str::<Landlock>(json).unwrap();
        let text = wanted(r#"{"bindTcp": []}"#).check(3).unwrap_err().to_string();
        assert!(
            text.contains("a list of TCP ports needs Landlock ABI 4 (Linux 6.7), and this kernel has ABI 3"),
            "{text}"
        );
        let text = wanted(r#"{"execute": ["/bin"]}"#).check(0).unwrap_err().to_string();
        assert!(text.contains("this kernel has none"), "{text}");
        assert!(wanted(r#"{"scope": ["signal"]}"#).check(5).is_err());
        assert!(wanted(r#"{"scope": ["signal"]}"#).check(6).is_ok());
        assert!(wanted(r#"{"bindTcp": [], "bestEffort": true}"#).check(0).is_ok());
    }
}
