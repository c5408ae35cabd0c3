//! `--filter key=value`, any number of times.

use std::collections::HashMap;

use crate::command_error::CommandError;

/// The filters as the API takes them, or nothing when there are none.
pub fn filters(flags: &[String]) -> Result<Option<HashMap<String, Vec<String>>>, CommandError> {
    let mut filters: HashMap<String, Vec<String>> = HashMap::new();
    for flag in flags {
        let Some((key, value)) = flag.split_once('=') else {
            return Err(CommandError::usage(format!(
                "invalid filter '{flag}': expected key=value"
            )));
        };
        filters
            .entry(key.trim().to_lowercase())
            .or_default()
            .push(value.trim().to_owned());
    }
    Ok((!filters.is_empty()).then_some(filters))
}
