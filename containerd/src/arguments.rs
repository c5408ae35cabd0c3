//! The command line: containerd's flags and commands.

use std::{ffi::OsString, path::Path, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::config::{ConfigError, File, Personality, load};

/// Container manager: containerd's API over snapshots, content and shims
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, disable_version_flag = true)]
pub struct Arguments {
    /// Folder of what must survive a reboot
    #[arg(long, value_name = "DIR", global = true)]
    root: Option<PathBuf>,
    /// Folder of what may go with a reboot
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// Socket of the gRPC API
    #[arg(short, long, value_name = "SOCKET", global = true)]
    address: Option<PathBuf>,
    /// What is logged: off, error, warn, info, debug, trace
    #[arg(short, long, value_name = "LEVEL", global = true)]
    pub log_level: Option<String>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print version
    #[arg(short, short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: (),
    /// What to do instead of serving
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the configuration
    Config {
        /// Which one
        #[command(subcommand)]
        which: Shown,
    },
    /// Publish the event on standard input, for shims that cannot do so themselves
    Publish {
        /// Topic of the event
        #[arg(long)]
        topic: String,
        /// Namespace of the event
        #[arg(long)]
        namespace: String,
    },
    /// Run a program as a hook of the OCI runtime, with what is known of the container in its arguments and environment
    ///
    /// {{id}}, {{bundle}}, {{rootfs}}, {{pid}}, {{status}} and {{annotation "KEY"}} are replaced.
    OciHook {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
}

/// A configuration that can be shown.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Shown {
    /// The defaults
    Default,
    /// The file with the defaults and what it imports
    Dump,
    /// The same as of version 3, without the plugins that have no settings here
    Migrate,
}

impl Arguments {
    /// Reads the command line of this process. As in Go, one dash is as good as two.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> (Self, Personality) {
        let mut words = words.into_iter();
        let name = words.next().unwrap_or_default();
        let personality = match Path::new(&name).file_name() {
            Some(name) if name == "containerd" => Personality::Containerd,
            _ => Personality::Davit,
        };
        let mut behind = false;
        let words = words.map(|word| {
            behind |= word == "--";
            if behind { word } else { with_two_dashes(word) }
        });
        (Self::parse_from([name].into_iter().chain(words)), personality)
    }

    /// The defaults, with the file over them and the flags over that.
    pub fn file(&self, personality: Personality) -> Result<File, ConfigError> {
        let default = Path::new(personality.default_file());
        let path = self.config.as_deref().or_else(|| default.exists().then_some(default));
        let mut file = load(personality, path)?;
        let flags = [
            (&mut file.root, &self.root),
            (&mut file.state, &self.state),
            (&mut file.grpc.address, &self.address),
        ];
        for (setting, flag) in flags {
            if let Some(path) = flag {
                setting.clone_from(path);
            }
        }
        if let Some(level) = &self.log_level {
            file.debug.level.clone_from(level);
        }
        Ok(file)
    }
}

/// `-config` is `--config`; `-c` and `-cFILE` stay.
fn with_two_dashes(word: OsString) -> OsString {
    const LONG: [&str; 9] = [
        "root",
        "state",
        "address",
        "log-level",
        "config",
        "version",
        "help",
        "topic",
        "namespace",
    ];
    let text = word.to_string_lossy();
    let name = text
        .strip_prefix('-')
        .map(|flag| flag.split_once('=').map_or(flag, |(name, _)| name));
    if name.is_some_and(|name| LONG.contains(&name)) {
        let mut dashed = OsString::from("-");
        // Its value may be a path that is no text.
        dashed.push(&word);
        return dashed;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Arguments, Personality) {
        Arguments::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_are_containerds_with_one_dash_or_two() {
        for line in [
            "davit-containerd --config /dev/null --root /r -l warn --address=/s",
            "davit-containerd -c /dev/null -root /r -log-level warn -a /s",
            "davit-containerd -config=/dev/null -root=/r -lwarn -address=/s",
        ] {
            let (arguments, personality) = read(line);
            assert_eq!(personality, Personality::Davit);
            let file = arguments.file(personality).unwrap();
            assert_eq!((file.root, file.grpc.address), ("/r".into(), "/s".into()), "{line}");
            assert_eq!(
                (file.debug.level.as_str(), file.state),
                ("warn", "/run/davit/containerd".into())
            );
        }
    }

    #[test]
    fn the_arguments_of_a_hook_stay_as_they_are() {
        let (arguments, personality) = read("/usr/bin/containerd oci-hook -- /bin/x -root --config");
        assert_eq!(personality, Personality::Containerd);
        let Some(Command::OciHook { program }) = arguments.command else {
            panic!("{:?}", arguments.command);
        };
        assert_eq!(program, ["/bin/x", "-root", "--config"]);
    }
}
