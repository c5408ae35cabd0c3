use super::*;

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn running(policy: &str) -> Labels {
    labels([(STATUS, "running"), (POLICY, policy)])
}

const ENDED_WELL: State = State::Stopped(0);
const FAILED: State = State::Stopped(7);

fn first(exit_status: u32) -> Wish {
    Wish::Start(Restart { exit_status, number: 1 })
}

#[track_caller]
fn check(labels: &Labels, state: State, expected: Wish) {
    assert_eq!(wish(labels, state, None), Ok(expected), "{labels:?} {state:?}");
}

#[test]
fn each_policy_starts_after_the_ends_it_names() {
    for (policy, missing, ended_well, failed) in [
        ("", true, true, true),
        ("always", true, true, true),
        ("unless-stopped", true, true, true),
        ("on-failure", false, false, true),
        ("on-failure:3", false, false, true),
        ("on-failure:-1", false, false, false),
        ("no", false, false, false),
    ] {
        for (state, starts, exit_status) in [
            (State::Missing(None), missing, 0),
            (State::Missing(Some(7)), failed, 7),
            (State::Abandoned, missing, 0),
            (ENDED_WELL, ended_well, 0),
            (FAILED, failed, 7),
        ] {
            let expected = if starts { first(exit_status) } else { Wish::Nothing };
            check(&running(policy), state, expected);
        }
    }
}

#[test]
fn a_task_that_runs_is_frozen_or_comes_is_left_alone_where_it_shall_run() {
    for state in [State::Running, State::Paused, State::Coming] {
        check(&running("always"), state, Wish::Nothing);
    }
}

#[test]
fn a_task_that_its_maker_may_be_about_to_start_or_of_an_unknown_state_is_left_alone() {
    for status in ["running", "stopped"] {
        for state in [State::Created(5), State::Unknown] {
            check(&labels([(STATUS, status)]), state, Wish::Nothing);
        }
    }
}

#[test]
fn a_shim_that_is_looked_for_is_waited_for_where_there_is_a_status() {
    check(&running("always"), State::Returning, Wish::Wait);
    check(&labels([(STATUS, "stopped")]), State::Returning, Wish::Wait);
    check(&labels([]), State::Returning, Wish::Nothing);
}

#[test]
fn labels_ask_for_a_restart_that_has_begun_until_they_are_changed() {
    let restart = Restart {
        exit_status: 7,
        number: 2,
    };
    for (policy, ask) in [
        ("always", true),
        ("on-failure", true),
        ("on-failure:2", true),
        ("on-failure:1", false),
        ("no", false),
        ("sometimes", false),
    ] {
        assert_eq!(ask_for(&running(policy), restart), ask, "{policy}");
    }
    assert!(!ask_for(&labels([(STATUS, "stopped")]), restart));
}

#[test]
fn a_task_that_shall_be_stopped_is_ended_whatever_the_policy() {
    let labels = labels([(STATUS, "stopped"), (POLICY, "always")]);
    for state in [State::Running, State::Paused, State::Abandoned] {
        check(&labels, state, Wish::Stop);
    }
    for state in [State::Missing(None), State::Coming, ENDED_WELL, FAILED] {
        check(&labels, state, Wish::Nothing);
    }
}

#[test]
fn without_a_known_status_nothing_is_done() {
    check(&labels([(POLICY, "always")]), ENDED_WELL, Wish::Nothing);
    check(&labels([(STATUS, "paused")]), State::Running, Wish::Nothing);
}

#[test]
fn on_failure_counts_to_its_number() {
    for (count, number) in [("", Some(1)), ("1", Some(2)), ("2", Some(3)), ("3", None), ("4", None)] {
        let mut labels = running("on-failure:3");
        labels.insert(COUNT.into(), count.into());
        let expected = number.map_or(Wish::Nothing, |number| Wish::Start(Restart { exit_status: 7, number }));
        check(&labels, FAILED, expected);
    }
}

#[test]
fn a_restart_that_was_cut_off_goes_on_and_is_counted_once() {
    let mut labels = running("on-failure:1");
    let begun = Restart {
        exit_status: 7,
        number: 1,
    };
    for count in ["", "1"] {
        labels.insert(COUNT.into(), count.into());
        for state in [State::Missing(None), State::Missing(Some(0)), State::Abandoned, FAILED] {
            assert_eq!(
                wish(&labels, state, Some(begun)),
                Ok(Wish::Start(begun)),
                "{count} {state:?}"
            );
        }
        assert_eq!(
            wish(&labels, State::Missing(None), Some(begun.next())),
            Ok(Wish::Nothing)
        );
        let ended = wish(&labels, ENDED_WELL, Some(begun));
        assert_eq!(ended, Ok(Wish::Nothing), "a task that is there speaks for itself");
    }
}

#[test]
fn explicitly_stopped_is_heeded_by_unless_stopped_alone() {
    for (policy, word, starts) in [
        ("unless-stopped", "true", false),
        ("unless-stopped", "1", false),
        ("unless-stopped", "false", true),
        ("unless-stopped", "yes", true),
        ("always", "true", true),
    ] {
        let mut labels = running(policy);
        labels.insert(EXPLICITLY_STOPPED.into(), word.into());
        check(&labels, FAILED, if starts { first(7) } else { Wish::Nothing });
        assert_eq!(may_start(&labels), starts, "{policy} {word}");
    }
}

#[test]
fn a_pending_restart_ends_with_the_labels_that_asked_for_it() {
    for (status, policy, may) in [
        ("running", "on-failure:3", true),
        ("running", "no", false),
        ("running", "sometimes", false),
        ("stopped", "always", false),
        ("", "always", false),
    ] {
        assert_eq!(
            may_start(&labels([(STATUS, status), (POLICY, policy)])),
            may,
            "{status} {policy}"
        );
    }
}

#[test]
fn a_label_that_says_nothing_is_named_with_its_value() {
    for (policy, count, text) in [
        (
            "sometimes",
            "",
            "label containerd.io/restart.policy: restart policy \"sometimes\" is not one of no, always, on-failure[:n], \
             unless-stopped",
        ),
        (
            "on-failure:x",
            "",
            "label containerd.io/restart.policy: retries \"x\" are not a number",
        ),
        (
            "on-failure",
            "x",
            "label containerd.io/restart.count: \"x\" is not a number",
        ),
    ] {
        let mut labels = running(policy);
        labels.insert(COUNT.into(), count.into());
        assert_eq!(wish(&labels, FAILED, None).unwrap_err().to_string(), text);
    }
    assert!(wish(&running("always:3"), FAILED, None).is_err());
}

#[test]
fn a_count_that_is_no_number_begins_anew_where_none_is_asked_for() {
    let mut labels = running("always");
    labels.insert(COUNT.into(), "x".into());
    check(&labels, FAILED, first(7));
    set_count(&mut labels, 1);
    check(
        &labels,
        FAILED,
        Wish::Start(Restart {
            exit_status: 7,
            number: 2,
        }),
    );
}
