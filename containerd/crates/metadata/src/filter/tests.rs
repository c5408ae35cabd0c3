use proptest::prelude::*;

use super::*;

struct Object {
    name: &'static str,
    labels: Labels,
}

impl Fields for Object {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path[0].as_str() {
            "name" => non_empty(self.name),
            "labels" => label(&self.labels, &path[1..]),
            _ => None,
        }
    }
}

fn object() -> Object {
    Object {
        name: "docker.io/library/busybox:latest",
        labels: Labels::from([
            ("plain".into(), "yes".into()),
            ("io.x/y".into(), "v,w".into()),
            ("empty".into(), String::new()),
        ]),
    }
}

fn check(filters: &[&str], expected: bool) {
    assert_eq!(
        Filters::parse(filters).unwrap().matches(&object()),
        expected,
        "{filters:?}"
    );
}

#[test]
fn filters_select_as_containerd_does() {
    check(&[], true);
    check(&[""], true);
    check(&["name"], true);
    check(&["nothing"], false);
    check(&["name==docker.io/library/busybox:latest"], true);
    check(&["name==busybox"], false);
    check(&["name!=busybox"], true);
    check(&["nothing!=x"], true);
    check(&["name~=busybox"], true);
    check(&["name~=/^docker\\\\.io/"], true);
    check(&["name~=|library/busy|"], true);
    check(&["name~=["], false);
    check(&["labels.plain"], true);
    check(&["labels.empty"], true);
    check(&["labels.plain==yes,name~=busy"], true);
    check(&["labels.plain==no,name~=busy"], false);
    check(&["labels.plain==no", "name~=busy"], true);
    check(&["labels.\"io.x/y\"==\"v,w\""], true);
    check(&["labels.\"io.x/y\"==v"], false);
    check(&["name == \"docker.io\\x2flibrary/busybox\\u003alatest\""], true);
}

#[test]
fn malformed_filters_are_refused() {
    for bad in [
        "==x",
        "name=x",
        "name===x",
        "name==",
        "name==a b",
        "name==\"a",
        "name==/a/",
        "name,",
        "labels.",
        "name==\"\\q\"",
        "name==.x",
        "name ",
    ] {
        assert!(Filters::parse(&[bad]).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
        let _ = Filters::parse(&[text]);
    }

    #[test]
    fn text_close_to_a_filter_does_not_panic_either(text in "[a-z\"\\\\/|=!~., x0-9]{0,30}") {
        let _ = Filters::parse(&[text]);
    }

    #[test]
    fn a_quoted_value_is_compared_as_it_is(value in "[^\"\\\\\\n\\x00]{1,20}") {
        struct Value(String);
        impl Fields for Value {
            fn field(&self, _: &[String]) -> Option<Cow<'_, str>> {
                Some(Cow::Borrowed(&self.0))
            }
        }
        let filters = Filters::parse(&[format!("v==\"{value}\"")]).unwrap();
        prop_assert!(filters.matches(&Value(value.clone())));
        let other = Value(format!("{value}x"));
        prop_assert!(!filters.matches(&other));
    }
}
