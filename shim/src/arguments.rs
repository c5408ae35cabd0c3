//! The shim's command line, in the style of Go's flag package: one or two dashes, `-name value` or `-name=value`.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use davit_vocabulary::{ContainerId, Namespace};

use crate::socket;

/// What the manager asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `-v`: the version.
    Version,
    /// `-info`: what this shim and its runtime can do.
    Info,
    /// `start`: a shim that serves, or the address of one that does already.
    Start(Identity),
    /// `delete`: clean up after a dead shim.
    Delete(Identity, Option<PathBuf>),
    /// No action: serve on the listener that `start` hands over as stdin, or on what another program of ours has left there.
    Serve(Identity, PathBuf, Beginning),
    /// `-check-handover`: whether this program could go on where another is.
    CheckHandover,
    /// `upgrade`: the shim at this socket is to become this program.
    Upgrade(PathBuf),
}

/// How a serving process begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// `start` has made it.
    Afresh,
    /// `-handover`: another program has become this one.
    Handover,
}

/// Who the shim is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The container it is started for.
    pub id: ContainerId,
    /// Its namespace.
    pub namespace: Namespace,
    /// The manager's gRPC address; a part of the socket's name.
    pub address: String,
    /// More to log.
    pub debug: bool,
}

impl Identity {
    /// The arguments of a process that serves at `socket`.
    pub fn serving(&self, socket: &Path, beginning: Beginning) -> Vec<OsString> {
        let words = ["-namespace", self.namespace.as_str(), "-id", self.id.as_str()];
        let mut arguments: Vec<OsString> = words.map(OsString::from).into();
        arguments.extend(["-address", &self.address, "-socket"].map(OsString::from));
        arguments.push(socket.into());
        if self.debug {
            arguments.push("-debug".into());
        }
        if beginning == Beginning::Handover {
            arguments.push("-handover".into());
        }
        arguments
    }
}

/// A command line that the shim cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An unknown flag.
    #[error(
        "unknown flag {0:?}: expected -namespace, -address, -publish-binary, -id, -bundle, -debug, -socket, \
         -debug-socket, -handover, -check-handover, -v or -info"
    )]
    UnknownFlag(String),
    /// A flag without its value.
    #[error("flag -{0} needs a value")]
    NoValue(String),
    /// A switch with a value that is no boolean.
    #[error("flag -{0} is a switch: expected true or false, got {1:?}")]
    NotABoolean(String, String),
    /// An action that does not exist.
    #[error("unknown action {0:?}: expected start, delete or upgrade")]
    UnknownAction(String),
    /// An id or namespace that is malformed.
    #[error("flag -{flag}: {source}")]
    Identifier {
        /// The flag's name.
        flag: &'static str,
        /// What is wrong with its value.
        source: davit_vocabulary::InvalidIdentifier,
    },
    /// Bytes that are not UTF-8.
    #[error("argument {0:?} is not UTF-8")]
    NotUtf8(OsString),
    /// An upgrade of nobody.
    #[error("upgrade needs -socket, or -bundle with the file shim-socket in it")]
    NoSocket,
    /// Neither an action nor a socket to serve on.
    #[error("no action: expected start, delete, upgrade, -v or -info")]
    NoAction,
}

#[derive(Default)]
struct Flags {
    namespace: String,
    id: String,
    address: String,
    bundle: Option<PathBuf>,
    socket: Option<PathBuf>,
    debug: bool,
    version: bool,
    info: bool,
    handover: bool,
    check_handover: bool,
}

/// Reads the arguments after the program's name.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, ArgumentError> {
    let mut flags = Flags::default();
    let mut action = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let argument = argument.into_string().map_err(ArgumentError::NotUtf8)?;
        match argument.strip_prefix('-') {
            Some(flag) => read_flag(&mut flags, flag.strip_prefix('-').unwrap_or(flag), &mut arguments)?,
            None if action.is_none() => action = Some(argument),
            None => return Err(ArgumentError::UnknownAction(argument)),
        }
    }
    choose(flags, action.as_deref())
}

fn read_flag(flags: &mut Flags, flag: &str, rest: &mut impl Iterator<Item = OsString>) -> Result<(), ArgumentError> {
    let (name, inline) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (flag, None),
    };
    let switch = match name {
        "debug" => Some(&mut flags.debug),
        "v" => Some(&mut flags.version),
        "info" => Some(&mut flags.info),
        "handover" => Some(&mut flags.handover),
        "check-handover" => Some(&mut flags.check_handover),
        _ => None,
    };
    if let Some(switch) = switch {
        *switch = boolean(name, inline)?;
        return Ok(());
    }
    let known = [
        "namespace",
        "id",
        "address",
        "publish-binary",
        "bundle",
        "socket",
        "debug-socket",
    ];
    if !known.contains(&name) {
        return Err(ArgumentError::UnknownFlag(format!("-{name}")));
    }
    let value = match inline {
        Some(value) => value,
        None => {
            let value = rest.next().ok_or_else(|| ArgumentError::NoValue(name.into()))?;
            value.into_string().map_err(ArgumentError::NotUtf8)?
        }
    };
    match name {
        "namespace" => flags.namespace = value,
        "id" => flags.id = value,
        "address" => flags.address = value,
        "bundle" => flags.bundle = Some(value.into()),
        "socket" => flags.socket = Some(value.into()),
        // Accepted and not needed: events go over ttrpc, and there is no profiling socket.
        _ => {}
    }
    Ok(())
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, ArgumentError> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(ArgumentError::NotABoolean(name.into(), other.into())),
    }
}

fn choose(flags: Flags, action: Option<&str>) -> Result<Action, ArgumentError> {
    if flags.version {
        return Ok(Action::Version);
    }
    if flags.info {
        return Ok(Action::Info);
    }
    if flags.check_handover {
        return Ok(Action::CheckHandover);
    }
    if action == Some("upgrade") {
        let noted = || socket::noted(flags.bundle.as_deref()?).ok().flatten();
        return flags
            .socket
            .or_else(noted)
            .map(Action::Upgrade)
            .ok_or(ArgumentError::NoSocket);
    }
    if action.is_none() && flags.socket.is_none() {
        return Err(ArgumentError::NoAction);
    }
    let identity = Identity {
        id: identifier("id", &flags.id)?,
        namespace: identifier("namespace", &flags.namespace)?,
        address: flags.address,
        debug: flags.debug,
    };
    match (action, flags.socket) {
        (Some("start"), _) => Ok(Action::Start(identity)),
        (Some("delete"), _) => Ok(Action::Delete(identity, flags.bundle)),
        (Some(other), _) => Err(ArgumentError::UnknownAction(other.into())),
        (None, Some(socket)) => {
            let beginning = if flags.handover {
                Beginning::Handover
            } else {
                Beginning::Afresh
            };
            Ok(Action::Serve(identity, socket, beginning))
        }
        (None, None) => Err(ArgumentError::NoAction),
    }
}

fn identifier<T: std::str::FromStr<Err = davit_vocabulary::InvalidIdentifier>>(
    flag: &'static str,
    text: &str,
) -> Result<T, ArgumentError> {
    text.parse()
        .map_err(|source| ArgumentError::Identifier { flag, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Action, ArgumentError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn identity(debug: bool) -> Identity {
        Identity {
            id: "c1".parse().unwrap(),
            namespace: "ns".parse().unwrap(),
            address: "/run/c.sock".into(),
            debug,
        }
    }

    #[test]
    fn the_command_lines_that_containerd_sends_are_understood() {
        let start = "-namespace ns -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 start";
        assert_eq!(check(start), Ok(Action::Start(identity(false))));
        let debug = "--namespace=ns --address=/run/c.sock -id=c1 -debug -bundle /b delete";
        assert_eq!(check(debug), Ok(Action::Delete(identity(true), Some("/b".into()))));
        assert_eq!(check("-v"), Ok(Action::Version));
        assert_eq!(check("-socket /s upgrade"), Ok(Action::Upgrade("/s".into())));
        for beginning in [Beginning::Afresh, Beginning::Handover] {
            let arguments = identity(true).serving(Path::new("/s"), beginning);
            assert_eq!(
                parse(arguments),
                Ok(Action::Serve(identity(true), "/s".into(), beginning))
            );
        }
        assert_eq!(check("-info"), Ok(Action::Info));
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let unknown = |text: &str| ArgumentError::UnknownFlag(text.into());
        assert_eq!(check("-x start"), Err(unknown("-x")));
        assert_eq!(check("-id"), Err(ArgumentError::NoValue("id".into())));
        assert_eq!(check("-id a -namespace b"), Err(ArgumentError::NoAction));
        assert_eq!(check(""), Err(ArgumentError::NoAction));
        assert_eq!(check("-bundle /nowhere upgrade"), Err(ArgumentError::NoSocket));
        let action = ArgumentError::UnknownAction("stop".into());
        assert_eq!(check("-id a -namespace b stop"), Err(action));
        for line in [
            "-id ../x -namespace b start",
            "-id a/b -namespace b start",
            "-id a -namespace .. start",
        ] {
            assert!(matches!(check(line), Err(ArgumentError::Identifier { .. })), "{line}");
        }
    }
}
