//! How JSON values look and count in a template.

use serde_json::{Map, Value};

/// Whether `if` takes the value for true: not false, zero, null or empty.
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The value as `{{.}}` prints it.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(inner_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", inner_text(value)))
                .collect();
            format!("map[{}]", entries.join(" "))
        }
    }
}

fn inner_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        other => text(other),
    }
}

/// A field of an object: by its exact name, else ignoring case, since Go's `.ID` is JSON's `Id`.
pub fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| {
        map.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}
