use super::*;

fn parse(options: &[&str]) -> MountOptions {
    MountOptions::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
}

#[test]
fn options_are_sorted_by_what_they_act_on() {
    let options = parse(&[
        "rbind",
        "nosuid",
        "ro",
        "rprivate",
        "mode=755",
        "size=65536k",
        "sync",
        "ridmap",
    ]);
    assert_eq!(options.bind, Some(Tree::Whole));
    assert_eq!(options.idmap, Some(Tree::Whole));
    let set = MountFlags::NOSUID | MountFlags::RDONLY | MountFlags::SYNCHRONOUS;
    assert_eq!(options.set, set);
    assert_eq!(attributes(set), NOSUID | RDONLY);
    assert_eq!(options.propagation, [(PRIVATE, Tree::Whole)]);
    assert_eq!(options.data, ["mode=755", "size=65536k"]);
}

#[test]
fn an_option_of_a_file_system_may_be_several_or_none() {
    let data = |option: &str| parse(&[option]).data;
    assert_eq!(data("size=1m,mode=755"), ["size=1m", "mode=755"]);
    assert_eq!(data(""), Vec::<String>::new());
    assert_eq!(data(",a,,b,"), ["a", "b"]);
    assert_eq!(
        data(r"lowerdir=/a\,x:/b,upperdir=/u"),
        [r"lowerdir=/a\,x:/b", "upperdir=/u"]
    );
    assert_eq!(data(r"a=\\,b"), [r"a=\\", "b"]);
    assert_eq!(data(r#"context="u:r:t:s0:c1,c2",x"#), ["context=u:r:t:s0:c1,c2", "x"]);
    assert_eq!(
        data("size=1m,mpol=interleave:0,2-3,mode=700"),
        ["size=1m", "mpol=interleave:0,2-3", "mode=700"]
    );
    assert_eq!(
        data(r#"lowerdir=/q"x,upperdir=/u"#),
        [r#"lowerdir=/q"x"#, "upperdir=/u"]
    );
}

#[test]
fn a_context_keeps_its_commas_where_mount_2_reads_it() {
    let options = parse(&["size=1m", r#"context="u:r:t:s0:c1,c2""#, "rootcontext=u:r:t:s0"]);
    let expected = r#"size=1m,context="u:r:t:s0:c1,c2",rootcontext="u:r:t:s0""#;
    assert_eq!(as_text(&options.data), expected);
}

#[test]
fn the_last_of_two_contrary_options_wins() {
    assert!(!parse(&["ro", "rw"]).read_only());
    assert!(parse(&["rw", "ro"]).read_only());
    assert_eq!(parse(&["ro", "rw"]).cleared, MountFlags::RDONLY);
    assert_eq!(parse(&["rro", "rrw"]).recursive_attr.set, 0);
    assert_eq!(parse(&["rrw", "rro"]).recursive_attr.clear, 0);
}

#[test]
fn access_times_are_kept_as_mount_2_keeps_them() {
    let attributes = |options: &[&str]| attributes(parse(options).set);
    assert_eq!(attributes(&["noatime", "strictatime"]), STRICTATIME);
    assert_eq!(attributes(&["noatime", "relatime"]), NOATIME);
    assert_eq!(attributes(&["nodiratime", "norelatime"]), NODIRATIME);
}

#[test]
fn an_existing_mount_keeps_only_the_access_times_that_nobody_spoke_of() {
    let change = change_to(parse(&["ro", "exec"]).set);
    assert_eq!(
        (change.set, change.clear),
        (RDONLY, NOSUID | NODEV | NOEXEC | NOSYMFOLLOW)
    );
    let change = change_to(parse(&["noatime"]).set);
    assert_eq!(change.set, NOATIME);
    assert_eq!(change.clear & (ATIME | NODIRATIME), ATIME | NODIRATIME);
}

#[test]
fn a_leading_r_makes_an_attribute_recursive() {
    assert_eq!(parse(&["rro", "rnosuid"]).recursive_attr.set, RDONLY | NOSUID);
    assert_eq!(parse(&["relatime"]).recursive_attr, MountAttr::default());
    let noatime = parse(&["ratime", "rnoatime"]).recursive_attr;
    assert_eq!((noatime.set, noatime.clear), (NOATIME, ATIME));
}

#[test]
fn every_name_is_understood() {
    let names = names();
    assert!(names.is_sorted());
    for name in names {
        assert!(parse(&[name]).data.is_empty(), "{name}");
    }
}
