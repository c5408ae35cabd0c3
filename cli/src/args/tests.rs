use std::{ffi::OsString, fmt::Write};

use clap::Command;

use super::{Invocation, parse, tree};
use crate::command_error::CommandError;

fn command_line(line: &str) -> Result<Option<Invocation>, CommandError> {
    parse(line.split_whitespace().map(OsString::from).collect())
}

/// The help of a command and of those below it, except where a group repeats commands of the top.
fn helps(command: &mut Command, path: &str, out: &mut String) {
    let _ = writeln!(out, "$ {path} --help\n{}", command.render_help());
    let top: Vec<_> = tree()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    for below in command.get_subcommands_mut() {
        let name = below.get_name().to_owned();
        if path == "davit" || !top.contains(&name) {
            helps(below, &format!("{path} {name}"), out);
        }
    }
}

#[test]
fn every_command_helps() {
    let mut command = tree().term_width(100).disable_help_subcommand(true);
    command.build();
    let mut out = String::new();
    helps(&mut command, "davit", &mut out);
    insta::assert_snapshot!(out);
}

#[test]
fn mistakes_are_told_with_what_to_do_next() {
    let lines = [
        "davit run --bogus x",
        "davit run --detac x",
        "davit run -p 80:80 x",
        "davit run --gpus=all x",
        "davit run",
        "davit exec web",
        "davit rename a",
        "davit rename a b c",
        "davit wait",
        "davit foo",
        "davit imags",
        "davit container foo",
        "davit build .",
        "davit volume ls",
        "davit --bogus ps",
        "davit -H unix:///x --log-level debug container run --bogus x",
        "davit --context x ps",
        "davit run --memory 12q x",
        "davit run --pull sometimes x",
        "davit run -v data:/x x",
        "davit run -v /x x",
        "davit run --mount type=volume,dst=/x x",
        "davit run --detach-keys ctrl-1 x",
        "davit logs --tail",
        "davit ps --all=maybe",
    ];
    let mut out = String::new();
    for line in lines {
        let error = command_line(line).unwrap_err();
        let _ = writeln!(out, "$ {line}\n{}\n[{}]\n", error.report().unwrap(), error.exit_code());
    }
    insta::assert_snapshot!(out);
}

#[test]
fn switches_cluster_and_take_values_and_end_at_the_image() {
    let shown = |line: &str| format!("{:?}", command_line(line).unwrap().unwrap().command);
    let check = |a: &str, b: &str| assert_eq!(shown(a), shown(b));
    check("davit run -itd x", "davit run --interactive --tty --detach x");
    check("davit run -it=false x", "davit run -i x");
    check("davit run --init=true --rm=false x", "davit run --init x");
    check("davit run --sig-proxy x", "davit run x");
    check("davit run -eA=1 -e B --env C x", "davit run -e A=1 --env=B -e=C x");
    check("davit ps -aq", "davit ps --quiet --all");
    check("davit rm web -f", "davit rm -f web");
    check("davit container ls -a", "davit container ps -a");
    let after_image = shown("davit run x -d --rm sh -c y");
    assert!(
        after_image.contains(r#"["x", "-d", "--rm", "sh", "-c", "y"]"#),
        "{after_image}"
    );
    assert!(after_image.contains("detach: false"), "{after_image}");
    let after_container = shown("davit exec -i web ls -la --color");
    assert!(
        after_container.contains(r#"["web", "ls", "-la", "--color"]"#),
        "{after_container}"
    );
}
