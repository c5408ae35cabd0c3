use serde_json::{Value, json};

use super::{Template, unescape};

fn data() -> Value {
    json!({
        "ID": "4c01db0b339c", "Name": "web", "Running": true, "Pid": 42, "Zero": 0, "Empty": [], "Nothing": null,
        "Names": ["a", "b", "c"], "Labels": {"color": "red", "com.example.size": "big"},
        "State": {"Status": "running", "ExitCode": 0}, "Label": {"color": "red"},
        "Ports": [{"Port": 80}, {"Port": 443}], "Id": "x",
    })
}

fn check(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|parsed| parsed.render(&data()));
    assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
}

fn refused(template: &str, expected: &str) {
    let error = Template::parse(template)
        .and_then(|parsed| parsed.render(&data()))
        .unwrap_err();
    assert!(error.to_string().contains(expected), "{template}: {error}");
}

#[test]
fn text_and_fields_are_rendered() {
    check("plain", "plain");
    check("{{.Name}} is {{.State.Status}}", "web is running");
    check(
        "{{ .Pid }}|{{.Running}}|{{.Names}}|{{.Labels}}",
        "42|true|[a b c]|map[color:red com.example.size:big]",
    );
    check("{{.Name}}{{/* a comment */}}!", "web!");
    check("{{$.Name}} {{$}}", &format!("web {}", super::value::text(&data())));
}

#[test]
fn names_are_found_ignoring_case_when_no_exact_one_exists() {
    check("{{.ID}} {{.Id}} {{.state.status}}", "4c01db0b339c x running");
}

#[test]
fn a_missing_key_of_the_api_is_an_error_and_of_a_user_is_no_value() {
    refused("{{.Bogus}}", "map has no entry for key \"Bogus\"");
    refused("{{.State.Health.Status}}", "map has no entry for key \"Health\"");
    refused("{{.Name.First}}", "can't evaluate field First in a string");
    check("{{.Labels.shape}}", "<no value>");
    check("{{index .Labels \"shape\"}}", "");
}

#[test]
fn branches_follow_truth() {
    check("{{if .Running}}up{{else}}down{{end}}", "up");
    check(
        "{{if .Zero}}a{{else if .Empty}}b{{else if .Name}}c{{else}}d{{end}}",
        "c",
    );
    check("{{if and .Running (eq .State.Status \"running\")}}yes{{end}}", "yes");
    check("{{if or .Zero .Nothing}}yes{{else}}no{{end}}", "no");
    check("{{if not .Zero}}yes{{end}}", "yes");
    check("{{with .State}}{{.Status}} of {{$.Name}}{{end}}", "running of web");
    check("{{with .Nothing}}x{{else}}none{{end}}", "none");
    check("{{if and .Zero .Bogus}}x{{else}}lazy{{end}}", "lazy");
}

#[test]
fn ranges_walk_lists_and_maps() {
    check("{{range .Names}}<{{.}}>{{end}}", "<a><b><c>");
    check("{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$n}}{{end}}", "a, b, c");
    check(
        "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}",
        "color=red;com.example.size=big;",
    );
    check("{{range .Empty}}x{{else}}none{{end}}", "none");
    check("{{range .Ports}}{{.Port}} {{end}}", "80 443 ");
    check("{{range .Names}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac");
    check("{{range .Names}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a");
}

#[test]
fn pipelines_hand_their_value_on_as_the_last_argument() {
    check("{{.Name | upper | printf \"%s-%s\" .ID}}", "4c01db0b339c-WEB");
    check("{{.Names | len}}", "3");
    check("{{$x := .Name}}{{$x}}{{$x = .ID}}{{$x}}", "web4c01db0b339c");
    check("{{(index .Ports 1).Port}}", "443");
    check("{{.Label \"color\"}}/{{.Label \"other\"}}", "red/");
}

#[test]
fn functions_do_what_dockers_do() {
    check("{{json .Names}} {{json .Name}}", "[\"a\",\"b\",\"c\"] \"web\"");
    check("{{join .Names \",\"}}", "a,b,c");
    check("{{index (split \"a:b\" \":\") 1}}", "b");
    check(
        "{{lower \"ABC\"}}{{upper \"abc\"}}{{title \"two words\"}}",
        "abcABCTwo Words",
    );
    check("{{truncate .ID 4}} {{truncate .Name 40}}", "4c01 web");
    check("{{pad .Name 1 2}}|{{pad \"\" 1 2}}|", " web  ||");
    check("{{println .Name 1}}", "web 1\n");
    check(
        "{{eq .Pid 1 42}} {{ne .Pid 1}} {{lt 1 2}} {{ge \"b\" \"a\"}}",
        "true true true true",
    );
    check("{{slice .ID 0 4}}", "4c01");
    check("{{index .Names 2}}{{index .Ports 0 \"Port\"}}", "c80");
}

#[test]
fn printf_knows_widths_and_verbs() {
    check("{{printf \"%5s|%-5s|%.2s\" .Name .Name .Name}}", "  web|web  |we");
    check(
        "{{printf \"%d %05d %x %q %t %.1f %v%%\" .Pid .Pid .Pid .Name .Running 1.25 .Names}}",
        "42 00042 2a \"web\" true 1.2 [a b c]%",
    );
    check("{{printf \"%d\" .Name}}", "%!d(web)");
    check("{{printf \"%s\"}}", "%!s(MISSING)");
    refused("{{printf \"%99999999s\" .Name}}", "above 4096");
}

#[test]
fn dashes_trim_the_text_around_them() {
    check("a  {{- .Name -}}  b", "awebb");
    check("a {{ .Name -}} \n b", "a webb");
    check("{{-3}}", "-3");
}

#[test]
fn braces_inside_strings_are_text() {
    check("{{\"}}\"}}{{`{{\\`}}{{\"\\t\\\"\"}}", "}}{{\\\t\"");
}

#[test]
fn mistakes_are_named() {
    refused("{{.Name", "unclosed action");
    refused("{{\"abc}}", "unterminated quoted string");
    refused("{{if .Name}}x", "{{end}} is missing");
    refused("{{end}}", "unexpected {{end}}");
    refused("{{}}", "missing value for command");
    refused("{{bogus .Name}}", "function \"bogus\" not defined");
    refused("{{$x}}", "undefined variable \"$x\"");
    refused("{{lower}}", "wrong number of args for lower");
    refused("{{lower 1}}", "error calling lower");
    refused("{{(.Name}}", "unclosed left paren");
    refused("{{.Name)}}", "unexpected right paren");
    refused("{{index .Names 7}}", "index out of range");
    refused("{{template \"x\"}}", "not supported");
    refused("{{.Name ! }}", "unexpected '!'");
}

#[test]
fn escapes_of_the_shell_become_characters() {
    assert_eq!(unescape("{{.A}}\\t{{.B}}\\n"), "{{.A}}\t{{.B}}\n");
}

#[test]
fn depth_has_an_end() {
    refused(&format!("{{{{{}", "(".repeat(100_000) + "}}"), "more than 200 levels");
    refused(&"{{if .Name}}".repeat(100_000), "more than 200 levels");
    refused(
        &format!("{{{{if .Zero}}}}{}", "{{else if .Zero}}".repeat(100_000)),
        "more than 200 levels",
    );
    check(
        &format!("{}x{}", "{{if .Name}}".repeat(200), "{{end}}".repeat(200)),
        "x",
    );
}

proptest::proptest! {
    #[test]
    fn no_template_panics(text in "(\\{\\{|\\}\\}|[-.$|()=:, \"`'\\\\%a-z0-9]|if |else |end|range |with |index |printf |\\.Names|\\.Labels|\\PC){0,24}") {
        let _ = Template::parse(&text).and_then(|template| template.render(&data()));
    }
}
