//! Flags as Go programs take them, in the form that clap takes: `-root DIR`, `--debug=false`, `--b DIR`.
//!
//! runc's callers may use any of these. Nor does runc look for its own flags behind the id of exec or ps, or mind a
//! flag that is given twice, or an empty value, which is as good as none: a script's `--pid-file "$FILE"`.

use std::{any::TypeId, ffi::OsString, time::Duration};

use clap::{Arg, ArgAction, Command};

/// The arguments in clap's form.
pub(super) fn translate(args: &[OsString], table: &Command) -> Vec<OsString> {
    let mut command = table;
    let mut args = args.iter();
    let mut translated: Vec<OsString> = args.next().cloned().into_iter().collect();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--") => {
                translated.push(arg.clone());
                break;
            }
            Some(text) if text.len() > 1 && text.starts_with('-') => {
                if let Some(arg) = flag(command, text, &mut translated) {
                    value(arg, args.next(), &mut translated);
                }
            }
            text => match text.and_then(|name| command.find_subcommand(name)) {
                Some(sub) => {
                    translated.push(arg.clone());
                    command = sub;
                }
                // What follows the id is another program's.
                None if passes_on(command) => {
                    translated.extend(["--".into(), arg.clone()]);
                    break;
                }
                None => translated.push(arg.clone()),
            },
        }
    }
    translated.extend(args.cloned());
    translated
}

fn passes_on(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

/// Gives the flag that was pushed last its value, whatever that begins with; or takes it back.
fn value(arg: &Arg, value: Option<&OsString>, translated: &mut Vec<OsString>) {
    match (value, translated.last_mut()) {
        (Some(value), _) if value.is_empty() && is_unset_when_empty(arg) => drop(translated.pop()),
        (Some(value), Some(flag)) => {
            flag.push("=");
            flag.push(value);
        }
        _ => {}
    }
}

/// An empty path and an empty text are no path and no text. An element of a list, a form and a number are what they are.
fn is_unset_when_empty(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    let is_form = parsed == TypeId::of::<String>() && !arg.get_default_values().is_empty();
    let is_number = [
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<i64>(),
        TypeId::of::<Duration>(),
    ]
    .into_iter()
    .any(|number| parsed == number);
    !is_form && !is_number && !matches!(arg.get_action(), ArgAction::Append)
}

/// Pushes one flag, and returns it when its value is the next argument.
fn flag<'a>(command: &'a Command, text: &str, translated: &mut Vec<OsString>) -> Option<&'a Arg> {
    let (name, value) = match text.trim_start_matches('-').split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text.trim_start_matches('-'), None),
    };
    let Some(arg) = find(command, name) else {
        translated.push(text.into());
        return None;
    };
    let dashes = if name.chars().count() == 1 { "-" } else { "--" };
    if takes_value(arg) {
        match value {
            Some("") if is_unset_when_empty(arg) => {}
            Some(value) => translated.push(format!("{dashes}{name}={value}").into()),
            None => translated.push(format!("{dashes}{name}").into()),
        }
        return value.is_none().then_some(arg);
    }
    // A switch that may be told to be off: that is another thing than to say nothing.
    let is_three_way = arg.get_action().takes_values();
    match value.map(go_bool) {
        Some(Some(false)) if is_three_way => translated.push(format!("{dashes}{name}=false").into()),
        Some(Some(false)) => {}
        None | Some(Some(true)) => translated.push(format!("{dashes}{name}").into()),
        Some(None) => translated.push(text.into()),
    }
    None
}

/// Whether it is followed by a value, in the next argument where there is no `=`.
pub(super) fn takes_value(arg: &Arg) -> bool {
    let may_lack_it = arg.get_num_args().is_some_and(|count| count.min_values() == 0);
    arg.get_action().takes_values() && !may_lack_it
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let short = |arg: &Arg| arg.get_short().is_some_and(|short| short.to_string() == name);
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || short(arg))
}

/// strconv.ParseBool.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[track_caller]
    fn check(args: &str, expected: &str) {
        let args: Vec<OsString> = args.split(' ').map(OsString::from).collect();
        let translated = translate(&args, &Cli::command());
        let translated: Vec<_> = translated.iter().map(|arg| arg.to_str().unwrap()).collect();
        assert_eq!(translated.join(" "), expected);
    }

    #[test]
    fn flags_are_taken_as_go_takes_them() {
        check("r run -d x", "r run -d x");
        check("r -root /x -debug run -detach x", "r --root=/x --debug run --detach x");
        check(
            "r --debug=true --rootless=true list -q=0",
            "r --debug --rootless=true list",
        );
        check("r run --b /x -bundle=/y id", "r run -b=/x --bundle=/y id");
        check("r update --cpu-quota -1 -nope id", "r update --cpu-quota=-1 -nope id");
        check(
            "r exec -no-new-privs -tty id ls -l",
            "r exec --no-new-privs --tty -- id ls -l",
        );
        check("r exec --no-new-privs=F id ls", "r exec --no-new-privs=false -- id ls");
        check("r exec --no-new-privs=1 id ls", "r exec --no-new-privs -- id ls");
    }

    #[test]
    fn what_follows_the_id_is_another_programs_where_there_is_one() {
        check("r exec -cap CAP_KILL id -t -- x", "r exec --cap=CAP_KILL -- id -t -- x");
        check("r ps id -f", "r ps -- id -f");
        check("r update id -cpu-quota=5", "r update id --cpu-quota=5");
        check("r nope -x", "r nope -x");
    }

    #[test]
    fn what_follows_a_flag_is_its_value_whatever_it_begins_with() {
        check("r exec -e -X=1 --user -1 id env", "r exec -e=-X=1 --user=-1 -- id env");
        check("r events --interval -1s id", "r events --interval=-1s id");
        check("r run --bundle", "r run --bundle");
    }

    #[test]
    fn an_empty_value_is_none() {
        check("r exec -e  --env= -u  id x", "r exec -e= --env= -- id x");
        check("r list --format ", "r list --format=");
        check("r --log-format  --log-format= list", "r list");
        check("r update --pids-limit  id", "r update --pids-limit= id");
        check("r --root  run --pid-file  --bundle= id ", "r run id ");
        check("r exec id sh -c ", "r exec -- id sh -c ");
    }

    #[test]
    fn of_a_flag_that_is_given_twice_the_last_counts() {
        use clap::Parser;
        let cli = Cli::try_parse_from([
            "r", "--root", "/a", "--root", "/b", "--debug", "--debug", "list", "-q", "-q",
        ]);
        assert_eq!(cli.unwrap().root, Some("/b".into()));
    }
}
