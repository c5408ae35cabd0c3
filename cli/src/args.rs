//! The command tree, and how a command line becomes a command.
//!
//! Docker's flags differ from clap's in three ways, and all three are settled here for every command at once: any switch takes
//! `=true` and `=false`; a flag or command that Docker has and we do not is refused as such; and a mistake exits with 125.

mod refused;

#[cfg(test)]
mod tests;

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
        _ => Err(mistake(error, args)),
    }
}

fn asks_version(args: &[OsString]) -> bool {
    args.iter().skip(1).any(|arg| arg == "--version" || arg == "-v")
}

/// The command that was meant, as far as it exists and stands before the bad flag: `davit container run`.
fn command_path(args: &[OsString], flag: &str) -> String {
    let tree = tree();
    let mut command = &tree;
    let mut path = command.get_name().to_owned();
    let mut words = args.iter().skip(1).filter_map(|arg| arg.to_str());
    while let Some(word) = words.next().filter(|word| *word != flag) {
        if let Some(next) = command.find_subcommand(word) {
            command = next;
            path = format!("{path} {}", command.get_name());
        } else if takes_next(command, word) {
            words.next();
        } else if !word.starts_with('-') {
            break;
        }
    }
    path
}

/// Whether a flag has its value in the next word.
fn takes_next(command: &Command, word: &str) -> bool {
    let is_named = |arg: &&Arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        long.as_deref() == Some(word) || short.as_deref() == Some(word)
    };
    let flag = command.get_arguments().find(is_named);
    flag.is_some_and(|flag| flag.get_action().takes_values())
}

fn mistake(error: &clap::Error, args: &[OsString]) -> CommandError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let flag = context(ContextKind::InvalidArg).unwrap_or_default();
    let path = command_path(args, flag);
    let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
    let help = format!("`{path} --help` shows what there is");
    let mistake = match error.kind() {
        ErrorKind::UnknownArgument if refused::is_dockers_flag(flag) => {
            return CommandError::unsupported(format_args!("flag {flag} of `{path}`"));
        }
        ErrorKind::InvalidSubcommand if refused::is_dockers_command(name) => {
            return CommandError::user(format!("command `{path} {name}` is not supported by davit yet"));
        }
        ErrorKind::UnknownArgument if flag.starts_with('-') => CommandError::usage(format!("unknown flag: {flag}")),
        ErrorKind::UnknownArgument => CommandError::user(format!("`{path}` takes no argument {flag:?}")),
        ErrorKind::InvalidSubcommand => CommandError::user(format!("unknown command: {path} {name}")),
        ErrorKind::MissingSubcommand => CommandError::user(format!("`{path}` needs a command")),
        ErrorKind::MissingRequiredArgument | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            CommandError::user(format!("`{path}` needs more arguments: {}", missing(error)))
        }
        _ => CommandError::usage(first_line(error)),
    };
    match context(ContextKind::SuggestedArg).or(context(ContextKind::SuggestedSubcommand)) {
        Some(similar) => mistake.hint(format!("did you mean `{similar}`?")),
        None => mistake.hint(help),
    }
}

/// The names of what is missing, without clap's brackets.
fn missing(error: &clap::Error) -> String {
    // A positional that takes several words repeats its name.
    let once = |name: &String| name.split("> <").next().unwrap_or_default().to_owned();
    let bare = |name: &String| once(name).trim_end_matches("...").trim_matches(['<', '>']).to_owned();
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(names)) => names.iter().map(bare).collect::<Vec<_>>().join(" "),
        Some(ContextValue::String(name)) => bare(name),
        _ => String::new(),
    }
}

/// What is wrong in clap's words, without its usage and tips.
fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!("{line}: use {}", values.join(", ")),
        _ => line.to_owned(),
    }
}
