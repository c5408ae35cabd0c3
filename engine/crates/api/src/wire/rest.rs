//! Members that this engine does not know or does not offer yet: fine while they say nothing, refused by name otherwise.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Refuses the first member that asks for something.
pub fn refuse(part: &str, rest: &Map<String, Value>) -> Result<(), ApiError> {
    match rest.iter().find(|(_, value)| !is_blank(value)) {
        Some((name, value)) => Err(ApiError::unsupported(format!("{part}{name} {}", shortened(value)))),
        None => Ok(()),
    }
}

/// What Go's clients write for "not set": zero values, and collections of them.
pub fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_blank),
        Value::Object(members) => members.values().all(is_blank),
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_asks_for_something_is_refused_and_by_name() {
        let check = |value: Value| refuse("HostConfig.", value.as_object().unwrap());
        assert!(check(json!({ "Links": null, "A": [], "B": [0, 0], "C": { "D": "" }, "E": false })).is_ok());
        let error = check(json!({ "Links": ["a:b"] })).unwrap_err();
        assert_eq!(error.status, 501);
        assert!(error.message.starts_with("HostConfig.Links [\"a:b\"] is not supported"));
    }
}
