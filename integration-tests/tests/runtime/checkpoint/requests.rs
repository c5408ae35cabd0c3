//! What the flags are for criu: the fields of its request (its rpc.proto, which is where the numbers are from). runc
//! sends the same.

use std::{fs, process::Stdio};

use serde_json::json;

use super::{
    COUNTER,
    double::{DUMP, Double, Fields, PRE_DUMP, RESTORE},
};

/// What of a request is not in a plain one, or not the same.
fn beyond(plain: &Fields, request: Fields) -> Vec<(u32, String)> {
    let lost = plain.keys().find(|number| !request.contains_key(number));
    assert_eq!(lost, None);
    let others = request
        .into_iter()
        .filter(|(number, values)| plain.get(number) != Some(values));
    others
        .flat_map(|(number, values)| values.into_iter().map(move |value| (number, value)))
        .collect()
}

fn fields(expected: &[(u32, &str)]) -> Vec<(u32, String)> {
    expected
        .iter()
        .map(|(number, value)| (*number, (*value).to_owned()))
        .collect()
}

/// A network is made anew and left empty without being named, too (CLONE_NEWNET).
const EMPTY: (u32, &str) = (38, "1073741824");

type Case<'a> = (&'a [&'a str], &'a [(u32, &'a str)]);

/// Flags of both commands.
const SHARED: [Case; 11] = [
    (&["--ext-unix-sk"], &[(4, "1")]),
    (&["--tcp-established"], &[(5, "1")]),
    (&["--shell-job"], &[(7, "1")]),
    (&["--file-locks"], &[(8, "1")]),
    (&["--auto-dedup"], &[(16, "1")]),
    (&["--manage-cgroups-mode", "ignore"], &[(34, "0")]),
    (&["--manage-cgroups-mode", "soft"], &[(34, "3")]),
    (&["--manage-cgroups-mode", "full"], &[(34, "4")]),
    (&["--manage-cgroups-mode", "strict"], &[(34, "5")]),
    // It is EMPTY in any case.
    (&["--empty-ns", "network"], &[]),
    (&["--lazy-pages"], &[(48, "1")]),
];

#[test]
fn each_flag_of_a_checkpoint_is_a_field_of_the_request() {
    let double = Double::of_version(4, 2);
    double.rig.run(COUNTER);
    fs::create_dir(double.rig.bundle.file("ahead")).expect("the bundle is ours");
    let (kind, plain) = double.checkpoint(&[]);
    assert_eq!(
        (kind.as_str(), plain[&EMPTY.0].as_slice()),
        (DUMP, &[EMPTY.1.to_owned()][..])
    );
    let only: [Case; 5] = [
        (&["--link-remap"], &[(18, "1")]),
        (&["--tcp-skip-in-flight"], &[(46, "1")]),
        // A message of its own, with the address and the port.
        (&["--page-server", "127.0.0.1:27"], &[(11, "\n\t127.0.0.1\u{10}\u{1b}")]),
        (&["--page-server", "[::1]:27"], &[(11, "\n\u{3}::1\u{10}\u{1b}")]),
        // Only what has changed since then.
        (&["--parent-path", "../ahead"], &[(14, "../ahead"), (15, "1")]),
    ];
    for (flags, expected) in SHARED.iter().chain(&only) {
        let (kind, request) = double.checkpoint(flags);
        assert_eq!(
            (kind.as_str(), beyond(&plain, request)),
            (DUMP, fields(expected)),
            "{flags:?}"
        );
    }

    // An earlier image may have one before it.
    let (kind, request) = double.checkpoint(&["--pre-dump", "--parent-path", "../ahead"]);
    assert_eq!(kind, PRE_DUMP);
    assert_eq!(
        (&request[&14], &request[&15]),
        (&vec!["../ahead".into()], &vec!["1".into()])
    );
    assert!(!request.contains_key(&23), "mounts are no part of it: {request:?}");
}

#[test]
fn each_flag_of_a_restore_is_a_field_of_the_request() {
    let double = Double::of_version(4, 2);
    let (kind, plain) = double.restore(&[]);
    assert_eq!(
        (kind.as_str(), plain[&EMPTY.0].as_slice()),
        (RESTORE, &[EMPTY.1.to_owned()][..])
    );
    // Whoever brings the pages is waited for.
    fs::write(double.rig.bundle.file("images/lazy-pages.socket"), "").expect("the bundle is ours");
    let only: [Case; 3] = [
        (&["--tcp-close"], &[(52, "1")]),
        (&["--lsm-profile", "apparmor:other"], &[(53, "apparmor:other")]),
        (&["--lsm-mount-context", "a:b:c"], &[(63, "a:b:c")]),
    ];
    for (flags, expected) in SHARED.iter().chain(&only) {
        let (kind, request) = double.restore(flags);
        assert_eq!(
            (kind.as_str(), beyond(&plain, request)),
            (RESTORE, fields(expected)),
            "{flags:?}"
        );
    }
    double.rig.is_gone();
}

#[test]
fn an_annotation_of_a_container_names_the_configuration_that_criu_reads() {
    const CONFIG_FILE: u32 = 51;
    for (annotation, file) in [
        (None, Some("/etc/criu/runc.conf")),
        (Some("/x"), Some("/x")),
        (Some(""), None),
    ] {
        let double = Double::of_version(4, 2);
        if let Some(annotation) = annotation {
            double
                .rig
                .bundle
                .edit(|config| config["annotations"] = json!({"org.criu.config": annotation}));
        }
        let file = file.map(|file| vec![file.to_owned()]);
        assert_eq!(double.restore(&[]).1.remove(&CONFIG_FILE), file, "{annotation:?}");
        double.rig.run(COUNTER);
        assert_eq!(double.checkpoint(&[]).1.remove(&CONFIG_FILE), file, "{annotation:?}");
    }
}

#[test]
fn an_old_criu_is_told_where_to_say_that_its_pages_can_be_fetched_and_is_not_asked_for_what_it_cannot() {
    let double = Double::of_version(3, 14);
    let rig = &double.rig;
    for flag in ["--lsm-profile", "--lsm-mount-context"] {
        rig.restore(&[flag, "a:b"])
            .code_is(1)
            .says(&format!("{flag} requires at least CRIU 3.16"));
        rig.is_gone();
    }
    rig.run(COUNTER);
    let images = rig.bundle.file("images");
    let mut command = rig.with_status(&["checkpoint", "--leave-running", "--lazy-pages", "--image-path", &images]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(
        status.expect("the runtime is built").success(),
        "{}",
        super::log_of(rig)
    );
    assert_eq!(double.request().1[&49], ["9"]);

    let double = Double::of_version(2, 12);
    double
        .rig
        .restore(&[])
        .code_is(1)
        .says("CRIU version 21200 must be 30000 or higher");
}
