//! A real terminal.

use std::process::Command;

use crate::{screen::Screen, world::on_both};

#[test]
fn a_terminal_has_a_size_and_can_be_left() {
    on_both(|world| {
        let screen = Screen::open(world.scratch, 30, 100);
        let run = world.command(&["run", "-it", "--network", "none", "--name", "tty", "busybox", "sh"]);
        screen.types(&format!("{}; echo LEFT $?", shell_line(&run)));
        screen.shows("/ #");
        screen.types("stty size");
        screen.shows("30 100");
        screen.resizes(25, 90);
        // The client hears of it by SIGWINCH and tells the engine.
        std::thread::sleep(std::time::Duration::from_millis(700));
        screen.types("stty size");
        screen.shows("25 90");
        screen.presses("C-p");
        screen.presses("C-q");
        assert_eq!(
            world.docker(&["inspect", "-f", "{{.State.Running}}", "tty"]).ok(),
            "true"
        );
        screen.types("clear");
        screen.types(&format!(
            "{}; echo LEFT $?",
            shell_line(&world.command(&["attach", "tty"]))
        ));
        screen.types("");
        screen.shows("/ #");
        screen.types("exit 7");
        screen.shows("LEFT 7");
        world.docker(&["rm", "tty"]).ok();
    });
}

/// A command as a line for a shell, its environment included.
fn shell_line(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"));
    let mut words = vec!["env".to_owned()];
    // `env` takes its options before the variables.
    let removed = command.get_envs().filter(|(_, value)| value.is_none());
    words.extend(removed.map(|(key, _)| format!("-u {}", key.to_string_lossy())));
    let set = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
    words.extend(set.map(|(key, value)| format!("{}={}", key.to_string_lossy(), quoted(value))));
    words.push(quoted(command.get_program()));
    words.extend(command.get_args().map(quoted));
    words.join(" ")
}
