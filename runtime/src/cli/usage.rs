//! A command line that cannot be obeyed, or asks for help: runc's words and exit codes.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use clap::{
    Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Cli, LogFormat, go_flags, help, version};
use crate::log;

/// What a wrong command line exits with, and one that names no command there is.
const FAILURE: u8 = 1;
const NO_SUCH_COMMAND: u8 = 3;

/// The command line, or the exit code where all has been said.
pub fn parse() -> Result<Cli, u8> {
    let args: Vec<OsString> = env::args_os().collect();
    let mut table = Cli::command();
    let args = go_flags::translate(&args, &table);
    table
        .try_get_matches_from_mut(&args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|err| answer(&args, &err))
}

fn answer(args: &[OsString], err: &clap::Error) -> u8 {
    let table = Cli::command();
    let invalid = |kind| match err.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let command = command_of(args, &table);
    match err.kind() {
        ErrorKind::DisplayVersion => say(&version::text()),
        ErrorKind::DisplayHelp => match unknown_command(args, &table) {
            Some(name) => no_topic(args, &name),
            None => show(command, &table),
        },
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            if is_root(command, &table) =>
        {
            show(&table, &table)
        }
        ErrorKind::InvalidSubcommand => match invalid(ContextKind::InvalidSubcommand).as_str() {
            "help" | "h" => help_about(args, &table),
            name => no_topic(args, name),
        },
        ErrorKind::UnknownArgument => match invalid(ContextKind::InvalidArg) {
            arg if arg.starts_with('-') => wrong_flag(
                args,
                command,
                &table,
                &format!("flag provided but not defined: -{}", arg.trim_start_matches('-')),
            ),
            _ => wrong_count(args, command, &table, true),
        },
        ErrorKind::MissingRequiredArgument => wrong_count(args, command, &table, false),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let flag = invalid(ContextKind::InvalidArg);
            let flag = flag.split(' ').next().unwrap_or_default().trim_start_matches('-');
            let value = invalid(ContextKind::InvalidValue);
            match value.is_empty() {
                true => wrong_flag(args, command, &table, &format!("flag needs an argument: -{flag}")),
                false if flag == "log-format" => fail(args, &format!("invalid log-format: {value}")),
                false => {
                    let text = format!("invalid value {value:?} for flag -{flag}{}", possible(err));
                    wrong_flag(args, command, &table, &text)
                }
            }
        }
        _ => {
            let text = err.to_string();
            let first = text.lines().next().unwrap_or_default();
            wrong_flag(args, command, &table, first.strip_prefix("error: ").unwrap_or(first))
        }
    }
}

/// What would have been right, where that is a list.
fn possible(err: &clap::Error) -> String {
    match err.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => format!(": must be {}", values.join(", ")),
        _ => ": parse error".into(),
    }
}

/// The command that the arguments name, or the whole program.
fn command_of<'a>(args: &[OsString], table: &'a Command) -> &'a Command {
    words(args, table)
        .next()
        .and_then(|name| table.find_subcommand(name))
        .unwrap_or(table)
}

fn unknown_command(args: &[OsString], table: &Command) -> Option<String> {
    let name = words(args, table).next()?;
    table.find_subcommand(&name).is_none().then_some(name)
}

/// The arguments that are neither global flags nor values of these.
fn words<'a>(args: &'a [OsString], table: &'a Command) -> impl Iterator<Item = String> + 'a {
    let mut args = args.iter().skip(1);
    std::iter::from_fn(move || {
        loop {
            let text = args.next()?.to_string_lossy().into_owned();
            let Some(name) = text.strip_prefix("--") else {
                match text.starts_with('-') {
                    true => continue,
                    false => return Some(text),
                }
            };
            let takes_next = |arg: &clap::Arg| arg.get_long() == Some(name) && arg.get_action().takes_values();
            if table.get_arguments().any(takes_next) {
                args.next();
            }
        }
    })
}

fn help_about(args: &[OsString], table: &Command) -> u8 {
    match words(args, table).nth(1) {
        None => show(table, table),
        Some(topic) => match table.find_subcommand(&topic) {
            Some(command) => show(command, table),
            None => no_topic(args, &topic),
        },
    }
}

fn no_topic(args: &[OsString], name: &str) -> u8 {
    fail(args, &format!("No help topic for '{name}'"));
    NO_SUCH_COMMAND
}

fn wrong_flag(args: &[OsString], command: &Command, table: &Command, text: &str) -> u8 {
    say(&format!("Incorrect Usage: {text}\n\n"));
    show(command, table);
    fail(args, text)
}

/// Too few arguments, or too many.
fn wrong_count(args: &[OsString], command: &Command, table: &Command, too_many: bool) -> u8 {
    say("Incorrect Usage.\n\n");
    show(command, table);
    let least = command.get_positionals().filter(|arg| arg.is_required_set()).count();
    let most = command.get_positionals().count();
    let needs = match (least == most, too_many) {
        (true, _) => format!("exactly {least}"),
        (false, true) => format!("a maximum of {most}"),
        (false, false) => format!("a minimum of {least}"),
    };
    let program = env::args().next().unwrap_or_default();
    let name = command.get_name();
    fail(args, &format!("{program}: {name:?} requires {needs} argument(s)"))
}

fn show(command: &Command, table: &Command) -> u8 {
    say(&help::page(command, is_root(command, table)))
}

fn is_root(command: &Command, table: &Command) -> bool {
    command.get_name() == table.get_name()
}

/// Whoever reads it may have gone.
fn say(text: &str) -> u8 {
    let _ = io::stdout().write_all(text.as_bytes());
    0
}

/// Into the log that was asked for, as far as that can be understood.
fn fail(args: &[OsString], text: &str) -> u8 {
    let format = match value(args, "--log-format").and_then(OsStr::to_str) {
        Some("json") => LogFormat::Json,
        _ => LogFormat::Text,
    };
    let _ = log::begin(value(args, "--log").map(Path::new), format, false);
    log::error(text);
    FAILURE
}

fn value<'a>(args: &'a [OsString], flag: &str) -> Option<&'a OsStr> {
    // What follows is another program's.
    let own = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let args = &args[..own];
    let at = args
        .iter()
        .position(|arg| arg.as_bytes().split(|byte| *byte == b'=').next() == Some(flag.as_bytes()))?;
    match args[at].as_bytes().strip_prefix(flag.as_bytes())?.strip_prefix(b"=") {
        Some(value) => Some(OsStr::from_bytes(value)),
        None => args.get(at + 1).map(OsString::as_os_str),
    }
}
