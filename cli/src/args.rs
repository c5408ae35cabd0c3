//! The command tree, and how a command line becomes a command.
//!
//! Docker's flags differ from clap's in three ways, and all three are settled here for every command at once: any switch takes
//! `=true` and `=false`; a flag or command that Docker has and we do not is refused as such; and a mistake exits with 125.

mod refused;

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser,
    builder::{BoolishValueParser, Styles},
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{command_error::CommandError, commands::Commands, output};

/// Runs containers.
#[derive(Debug, Parser)]
#[command(
    name = "davit",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true,
    styles = Styles::plain(),
    max_term_width = 120,
)]
pub struct Invocation {
    /// Flags before the command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Commands,
}

/// Flags that every command has.
#[derive(Debug, Args)]
pub struct Global {
    /// Engine to talk to: unix://PATH or tcp://HOST:PORT [default: $DOCKER_HOST or unix:///run/davit/davit.sock]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub host: Vec<String>,
    /// Show each request to the engine on standard error
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// What to show on standard error: debug, info, warn, error or fatal
    #[arg(short, long, value_name = "LEVEL", default_value = "info", value_parser = ["debug", "info", "warn", "error", "fatal"])]
    pub log_level: String,
    /// Print the version and leave
    #[arg(short = 'v', long)]
    pub version: bool,
}

impl Global {
    /// Whether requests are shown.
    pub fn is_debug(&self) -> bool {
        self.debug || self.log_level == "debug"
    }
}

/// Reads the command line. Nothing is left to do when it asked for help or the version.
pub fn parse(args: Vec<OsString>) -> Result<Option<Invocation>, CommandError> {
    let parsed = switches_with_values(tree())
        .try_get_matches_from(&args)
        .and_then(|matches| Invocation::from_arg_matches(&matches));
    match parsed {
        Ok(invocation) => Ok(Some(invocation)),
        Err(error) => answer(&error, &args),
    }
}

/// The command tree as help shows it. `-h` belongs to `run`, so help is `--help` alone, everywhere.
fn tree() -> Command {
    fn with_help(command: Command) -> Command {
        let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
        command.disable_help_flag(true).arg(help).mut_subcommands(with_help)
    }
    with_help(Invocation::command())
}

/// Lets every switch take `=true` or `=false`.
fn switches_with_values(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(BoolishValueParser::new()),
        _ => arg,
    });
    command.mut_subcommands(switches_with_values)
}

/// Help and the version are answers; everything else is a mistake.
fn answer(error: &clap::Error, args: &[OsString]) -> Result<Option<Invocation>, CommandError> {
    match error.kind() {
        ErrorKind::DisplayHelp => {
            // The plain tree shows switches as switches.
            let shown = tree().try_get_matches_from(args).err();
            output::text(&shown.as_ref().unwrap_or(error).render().to_string())?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand if asks_version(args) => {
            output::line(concat!("davit version ", env!("CARGO_PKG_VERSION")))?;
            Ok(None)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let shown = tree().try_get_matches_from(args).err();
            output::text(&shown.as_ref().unwrap_or(error).render().to_string())?;
            Ok(None)
        }
        _ => Err(mistake(error)),
    }
}

fn asks_version(args: &[OsString]) -> bool {
    args.iter().skip(1).any(|arg| arg == "--version" || arg == "-v")
}

fn mistake(error: &clap::Error) -> CommandError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (ErrorKind::UnknownArgument, Some(flag)) = (error.kind(), context(ContextKind::InvalidArg)) {
        if refused::is_dockers_flag(flag) {
            return CommandError::unsupported(format_args!("flag {flag}"));
        }
    }
    if let (ErrorKind::InvalidSubcommand, Some(name)) = (error.kind(), context(ContextKind::InvalidSubcommand)) {
        return match refused::is_dockers_command(name) {
            true => CommandError::user(format!("command {name:?} is not supported by davit yet")),
            false => CommandError::user(text(error)),
        };
    }
    match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::TooManyValues => CommandError::user(text(error)),
        _ => CommandError::usage(text(error)),
    }
}

/// clap's words without its own prefix.
fn text(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
}
