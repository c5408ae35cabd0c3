//! `key=value` lists.

use std::collections::HashMap;

/// A map of pairs; a key alone has an empty value. Nothing when the list is empty.
pub fn map(pairs: &[String]) -> Option<HashMap<String, String>> {
    let split = |pair: &String| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    (!pairs.is_empty()).then(|| pairs.iter().map(split).collect())
}

/// The list, or nothing when it is empty: the API takes nothing for its default.
pub fn list(items: &[String]) -> Option<Vec<String>> {
    (!items.is_empty()).then(|| items.to_vec())
}
