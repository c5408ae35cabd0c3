//! What of `scheduler`, `ioPriority` and `rlimits` cannot be, in runc's words.

use crate::{IoPriority, Process, Scheduler, SpecError};

/// Refuses what the kernel would refuse without saying why.
pub(crate) fn validate(process: &Process) -> Result<(), SpecError> {
    process.scheduler.as_ref().map_or(Ok(()), scheduler)?;
    process.io_priority.as_ref().map_or(Ok(()), io_priority)?;
    let limits = &process.rlimits;
    match limits.iter().enumerate().find(|(at, limit)| {
        let earlier = limits.get(..*at).unwrap_or_default();
        earlier.iter().any(|earlier| earlier.kind == limit.kind)
    }) {
        Some((_, limit)) => refuse(format!("rlimits: {} is given twice", limit.kind)),
        None => Ok(()),
    }
}

fn scheduler(scheduler: &Scheduler) -> Result<(), SpecError> {
    let policy = scheduler.policy.as_str();
    if policy.is_empty() {
        return refuse("scheduler policy is required".into());
    }
    let nice = scheduler.nice;
    if ["SCHED_OTHER", "SCHED_BATCH"].contains(&policy) && !(-20..=19).contains(&nice) {
        return refuse(format!(
            "invalid scheduler.nice: {nice} when scheduler.policy is {policy}"
        ));
    }
    if scheduler.priority != 0 && !["SCHED_FIFO", "SCHED_RR"].contains(&policy) {
        return refuse("scheduler.priority can only be specified for SchedFIFO or SchedRR policy".into());
    }
    let has_times = [scheduler.runtime, scheduler.deadline, scheduler.period] != [0; 3];
    if has_times && policy != "SCHED_DEADLINE" {
        return refuse("scheduler runtime/deadline/period can only be specified for SchedDeadline policy".into());
    }
    Ok(())
}

fn io_priority(priority: &IoPriority) -> Result<(), SpecError> {
    if !(0..=7).contains(&priority.priority) {
        return refuse(format!("invalid ioPriority.Priority: {}", priority.priority));
    }
    match priority.class.as_str() {
        "IOPRIO_CLASS_RT" | "IOPRIO_CLASS_BE" | "IOPRIO_CLASS_IDLE" => Ok(()),
        class => refuse(format!("invalid ioPriority.Class: {class:?}")),
    }
}

fn refuse(problem: String) -> Result<(), SpecError> {
    Err(SpecError::Priority(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        let process = Process::parse(json.as_bytes()).unwrap();
        validate(&process).map_or_else(|err| err.to_string(), |()| "accepted".into())
    }

    #[test]
    fn a_scheduler_has_only_the_parameters_of_its_policy() {
        for (scheduler, text) in [
            ("{}", "scheduler policy is required"),
            (
                r#"{"policy": "SCHED_BATCH", "nice": 20}"#,
                "invalid scheduler.nice: 20 when scheduler.policy is SCHED_BATCH",
            ),
            (
                r#"{"policy": "SCHED_OTHER", "priority": 1}"#,
                "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
            ),
            (
                r#"{"policy": "SCHED_FIFO", "priority": 1, "runtime": 5}"#,
                "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
            ),
            (
                r#"{"policy": "SCHED_DEADLINE", "nice": 19, "runtime": 4, "deadline": 5, "period": 6}"#,
                "accepted",
            ),
        ] {
            assert_eq!(refusal(&format!(r#"{{"scheduler": {scheduler}}}"#)), text);
        }
    }

    #[test]
    fn an_io_priority_is_a_known_class_and_a_level() {
        for (priority, text) in [
            (
                r#"{"class": "IOPRIO_CLASS_BE", "priority": 8}"#,
                "invalid ioPriority.Priority: 8",
            ),
            (r#"{"class": "BE"}"#, "invalid ioPriority.Class: \"BE\""),
            (r#"{"class": "IOPRIO_CLASS_IDLE"}"#, "accepted"),
        ] {
            assert_eq!(refusal(&format!(r#"{{"ioPriority": {priority}}}"#)), text);
        }
    }

    #[test]
    fn a_limit_is_given_once() {
        let limit = r#"{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}"#;
        assert_eq!(
            refusal(&format!(r#"{{"rlimits": [{limit}, {limit}]}}"#)),
            "rlimits: RLIMIT_CORE is given twice"
        );
    }
}
