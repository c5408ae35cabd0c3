use serde_json::{Map, Value, json};

use super::{Binary, Column, Decimal, Listing, duration, fixed, flexible, indent};

const COLUMNS: &[Column] = &[
    fixed("ID", "CONTAINER ID"),
    flexible("Command", "COMMAND"),
    fixed("Names", "NAMES"),
];

fn rows() -> Vec<Map<String, Value>> {
    let row = |value: Value| value.as_object().cloned().unwrap();
    vec![
        row(
            json!({"ID": "4c01db0b339c", "Command": "\"sleep 1000 and a long tail\"", "Names": "web", "Label": {"a": "b"}}),
        ),
        row(json!({"ID": "d7886598dbe2", "Command": "\"sh\"", "Names": "a_rather_long_name", "Label": {}})),
    ]
}

fn check(format: Option<&str>, width: Option<u16>, expected: &str) {
    let listing = Listing {
        columns: COLUMNS,
        shown: &["ID", "Command", "Names"],
        rows: rows(),
        cut: true,
    };
    assert_eq!(listing.render(format, width).unwrap(), expected);
}

#[test]
fn a_table_is_as_wide_as_it_needs() {
    let table = "\
CONTAINER ID   COMMAND                        NAMES
4c01db0b339c   \"sleep 1000 and a long tail\"   web
d7886598dbe2   \"sh\"                           a_rather_long_name
";
    check(None, None, table);
    check(Some("table"), Some(200), table);
}

#[test]
fn flexible_columns_give_way_to_the_terminal_and_names_never_do() {
    check(
        None,
        Some(50),
        "\
CONTAINER ID   COMMAND          NAMES
4c01db0b339c   \"sleep 1000 a…   web
d7886598dbe2   \"sh\"             a_rather_long_name
",
    );
}

#[test]
fn a_table_of_templates_has_titles_too() {
    check(
        Some("table {{.Names}}\\t{{.ID | printf \"%.4s\"}}"),
        None,
        "NAMES                CONT\nweb                  4c01\na_rather_long_name   d788\n",
    );
}

#[test]
fn json_and_templates_have_a_line_for_each_row() {
    check(
        Some("{{.Names}}:{{.Label \"a\"}}"),
        None,
        "web:b\na_rather_long_name:\n",
    );
    check(
        Some("json"),
        None,
        "{\"Command\":\"\\\"sleep 1000 and a long tail\\\"\",\"ID\":\"4c01db0b339c\",\"Names\":\"web\"}\n\
         {\"Command\":\"\\\"sh\\\"\",\"ID\":\"d7886598dbe2\",\"Names\":\"a_rather_long_name\"}\n",
    );
}

#[test]
fn sizes_have_few_digits() {
    let check = |bytes, decimal: &str, binary: &str| {
        assert_eq!(
            (Decimal(bytes).to_string().as_str(), Binary(bytes).to_string().as_str()),
            (decimal, binary)
        );
    };
    check(0, "0B", "0B");
    check(999, "999B", "999B");
    check(1_234, "1.23kB", "1.205KiB");
    check(2_048_000, "2.05MB", "1.953MiB");
    check(64 * 1024 * 1024, "67.1MB", "64MiB");
    check(417_000_000_000, "417GB", "388.4GiB");
}

#[test]
fn spans_have_one_unit() {
    let check = |seconds, expected: &str| assert_eq!(duration(seconds), expected);
    check(0, "Less than a second");
    check(1, "1 second");
    check(59, "59 seconds");
    check(60, "About a minute");
    check(150, "2 minutes");
    check(3600, "About an hour");
    check(3 * 3600, "3 hours");
    check(47 * 3600, "47 hours");
    check(48 * 3600, "2 days");
    check(15 * 86400, "2 weeks");
    check(90 * 86400, "3 months");
    check(3 * 365 * 86400, "3 years");
}

#[test]
fn json_keeps_its_order_and_its_strings() {
    assert_eq!(
        indent(r#"{"b":[1,{"a":"x,{\"}"}],"a":{}, "c" : [ ]}"#, 2),
        "{\n  \"b\": [\n    1,\n    {\n      \"a\": \"x,{\\\"}\"\n    }\n  ],\n  \"a\": {},\n  \"c\": []\n}"
    );
}
