//! `--help`, in the shape that runc's users know: made from the same table that reads the arguments.

use clap::{Arg, Command};

use super::{go_flags::takes_value, version};

/// The page of the whole program, or of one of its commands.
pub(super) fn page(command: &Command, is_root: bool) -> String {
    let program = version::program();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    if is_root {
        let commands: Vec<_> = command.get_subcommands().map(command_line).collect();
        return format!(
            "NAME:\n   {program} - Open Container Initiative runtime\n\n{about}.\n\nUSAGE:\n   {program} [global options] command \
             [command options] [arguments...]\n\nVERSION:\n   {}\n\nCOMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
            env!("CARGO_PKG_VERSION"),
            columns(&commands),
            columns(&options(command)),
        );
    }
    let name = command.get_name();
    let options = options(command);
    let places: String = command
        .get_positionals()
        .map(|arg| format!(" {}", place(arg)))
        .collect();
    let taken = if options.is_empty() { "" } else { " [command options]" };
    let mut page = format!("NAME:\n   {program} {name} - {about}\n\nUSAGE:\n   {program} {name}{taken}{places}\n");
    if let Some(long) = command.get_long_about() {
        page += &format!("\nDESCRIPTION:\n   {long}\n");
    }
    if !options.is_empty() {
        page += &format!("\nOPTIONS:\n{}", columns(&options));
    }
    page
}

fn command_line(command: &Command) -> (String, String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    (command.get_name().to_owned(), about)
}

fn options(command: &Command) -> Vec<(String, String)> {
    let shown = |arg: &&Arg| !arg.is_positional() && !arg.is_hide_set();
    command.get_arguments().filter(shown).map(option).collect()
}

/// `--bundle value, -b value`, and what it is for.
fn option(arg: &Arg) -> (String, String) {
    let value = if takes_value(arg) { " value" } else { "" };
    let long = arg.get_long().map(|long| format!("--{long}{value}"));
    let short = arg.get_short().map(|short| format!("-{short}{value}"));
    let names: Vec<_> = long.into_iter().chain(short).collect();
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if let [default] = arg.get_default_values()
        && !value.is_empty()
    {
        help += &format!(" (default: {default:?})");
    }
    (names.join(", "), help)
}

/// A positional argument: `<container-id>`, `[signal]`.
pub(super) fn place(arg: &Arg) -> String {
    let name = match arg.get_id().as_str() {
        "id" => "container-id",
        name => name,
    };
    match arg.is_required_set() {
        true => format!("<{name}>"),
        false => format!("[{name}]"),
    }
}

fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, text)| format!("   {name:width$}  {text}\n"))
        .collect()
}
