//! Limits that only v1 has. They are passed over, as by runc: one config serves both kinds of machines.

use oci_spec::runtime::LinuxResources;

/// Those that are asked for, as the specification calls them.
pub(crate) fn wanted(resources: &LinuxResources) -> Vec<&'static str> {
    let (memory, cpu, network) = (
        resources.memory().as_ref(),
        resources.cpu().as_ref(),
        resources.network().as_ref(),
    );
    let priorities = network.and_then(|network| network.priorities().as_ref());
    let limits = [
        (
            "memory.disableOOMKiller",
            memory.and_then(|memory| memory.disable_oom_killer()) == Some(true),
        ),
        (
            "cpu.realtimeRuntime",
            cpu.and_then(|cpu| cpu.realtime_runtime()).unwrap_or_default() != 0,
        ),
        (
            "cpu.realtimePeriod",
            cpu.and_then(|cpu| cpu.realtime_period()).unwrap_or_default() != 0,
        ),
        (
            "network.classID",
            network.and_then(|network| network.class_id()).unwrap_or_default() != 0,
        ),
        (
            "network.priorities",
            priorities.is_some_and(|priorities| !priorities.is_empty()),
        ),
    ];
    limits
        .into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(limit, _)| limit)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: &str, expected: &[&str]) {
        assert_eq!(
            wanted(&serde_json::from_str(resources).unwrap()),
            expected,
            "{resources}"
        );
    }

    #[test]
    fn what_v2_does_not_have_is_named_and_nothing_else() {
        check("{}", &[]);
        check(
            r#"{"memory": {"disableOOMKiller": true}, "cpu": {"realtimeRuntime": 1, "realtimePeriod": 2},
                "network": {"classID": 3, "priorities": [{"name": "lo", "priority": 4}]}}"#,
            &[
                "memory.disableOOMKiller",
                "cpu.realtimeRuntime",
                "cpu.realtimePeriod",
                "network.classID",
                "network.priorities",
            ],
        );
        check(
            r#"{"memory": {"disableOOMKiller": false, "limit": 5}, "cpu": {"realtimeRuntime": 0, "shares": 6},
                "network": {"classID": 0, "priorities": []}}"#,
            &[],
        );
    }
}
