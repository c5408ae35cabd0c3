//! The cases, a file for each part of the contract.

use std::pin::Pin;

use crate::world::World;

/// One thing that a shim must do.
pub struct Case {
    /// What it does, as a sentence.
    pub name: String,
    /// Panics where it does not; what is optional and not offered is skipped, by [`World::skip`].
    pub run: fn(World) -> Pin<Box<dyn Future<Output = ()>>>,
}

macro_rules! cases {
    ($($part:ident { $($case:ident,)* })*) => {
        $(mod $part;)*

        /// All of them.
        pub fn all() -> Vec<Case> {
            vec![$($(Case {
                name: format!("{}: {}", stringify!($part), stringify!($case).replace('_', " ")),
                run: |world| Box::pin($part::$case(world)),
            },)*)*]
        }
    };
}

cases! {
    program {
        it_says_its_version_and_what_it_can_do,
        start_answers_with_a_socket_for_its_owner_alone,
        start_without_an_id_or_a_bundle_is_refused,
        containers_of_a_group_share_a_shim,
        delete_ends_what_a_killed_shim_left,
        delete_of_what_never_was_is_no_error,
        the_generation_that_start_answers_is_served,
    }
    life {
        a_life_is_told_in_order,
        exit_codes_and_signals_are_told_as_a_shell_would,
        a_container_has_the_state_that_it_is_in,
        a_start_is_told_before_the_exit_that_overtakes_it,
        a_created_container_can_be_deleted_without_a_start,
        what_cannot_be_run_is_refused_and_leaves_nothing,
        a_root_is_mounted_and_unmounted,
        a_shim_ends_when_asked_and_not_before_its_last_container,
        who_waits_late_is_answered_at_once,
    }
    refusals {
        an_unknown_container_is_not_found,
        an_unknown_process_is_not_found,
        nothing_is_made_or_started_twice,
        what_runs_cannot_be_deleted,
        what_has_ended_cannot_be_signalled,
        an_ended_container_takes_no_more_processes,
    }
    execs {
        a_process_is_added_started_and_ended_in_order,
        a_process_has_the_state_that_it_is_in,
        a_process_that_was_not_started_can_be_deleted,
        a_program_that_is_not_there_is_refused_and_the_process_stays_described,
        the_exit_of_the_first_process_is_the_last,
        many_processes_end_each_with_its_own_code,
        a_signal_goes_to_the_process_it_is_for,
    }
    resources {
        a_container_stands_still_and_goes_on,
        a_changed_limit_is_in_the_cgroup,
        statistics_have_the_type_of_the_machines_cgroups,
        the_processes_of_a_container_are_listed,
        a_signal_for_all_reaches_who_has_left_the_first_process,
        too_much_memory_is_told,
    }
    streams {
        output_goes_through_fifos,
        input_ends_when_it_is_closed,
        a_reader_that_has_gone_holds_nobody_up,
        both_outputs_go_into_one_file,
        a_logging_program_gets_both_outputs,
        a_terminal_has_the_size_that_it_is_given,
        a_process_has_streams_of_its_own,
    }
    sandboxes {
        a_sandbox_is_made_started_and_stopped_once,
        a_sandbox_keeps_its_shim_and_ends_its_containers,
        a_sandbox_ends_with_a_process_of_its_own,
        a_shutdown_leaves_nothing_of_the_group,
    }
    delivery {
        events_have_their_namespace_and_times_in_order,
        what_a_manager_has_not_taken_is_sent_again,
    }
}
