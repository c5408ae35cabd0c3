//! `ps`: a container's processes.

use std::process::Command;

use super::{CommandError, id, print};
use crate::{cli::Ps, container::store::Store, errno::Attempt};

pub(super) fn run(store: &Store, args: &Ps) -> Result<(), CommandError> {
    let (_, record) = store.find(&id(&args.id)?)?;
    let pids = record.cgroup()?.pids()?;
    match args.format.as_str() {
        "json" => {
            let json = serde_json::to_string(&pids).expect("pids are numbers");
            return Ok(print(&format!("{json}\n"))?);
        }
        "table" => {}
        _ => return Err(CommandError::Usage("invalid format option".into())),
    }
    let options = if args.options.is_empty() {
        vec!["-ef".to_owned()]
    } else {
        args.options.clone()
    };
    let output = Command::new("ps").args(&options).output().attempt("execute", "ps")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(CommandError::Usage(format!(
            "ps: {}: {}{}",
            output.status,
            text,
            words.trim_end()
        )));
    }
    let lines =
        of_container(&text, &pids).ok_or_else(|| CommandError::Usage("couldn't find PID field in ps output".into()))?;
    Ok(print(&lines)?)
}

/// The heading, and the lines of the given processes.
fn of_container(table: &str, pids: &[i32]) -> Option<String> {
    let heading = table.lines().next()?;
    let column = heading.split_whitespace().position(|name| name == "PID")?;
    let of_container = |line: &&str| {
        line.split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .is_some_and(|pid| pids.contains(&pid))
    };
    let lines = table.lines().skip(1).filter(of_container);
    Some(
        std::iter::once(heading)
            .chain(lines)
            .map(|line| format!("{line}\n"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::of_container;

    #[test]
    fn only_the_containers_processes_are_listed() {
        let table = "UID PID CMD\nroot 1 init\nroot 12 sleep\nroot 121 12\n";
        assert_eq!(
            of_container(table, &[12]).as_deref(),
            Some("UID PID CMD\nroot 12 sleep\n")
        );
        assert_eq!(of_container("UID CMD\n", &[12]), None);
    }
}
