//! The few formats that cgroup files have. A file that is absent or odd reads as nothing: controllers come and go.

use std::{collections::HashMap, fs, path::Path};

/// One number; `max` is the largest.
pub fn number(path: &Path) -> Option<u64> {
    parse_number(fs::read_to_string(path).ok()?.trim())
}

/// A number, or `max`.
pub fn parse_number(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        _ => text.parse().ok(),
    }
}

/// Lines of a key and a number.
pub fn keyed(path: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(key, value)| Some((key.to_owned(), parse_number(value.trim())?)))
        .collect()
}

/// Numbers separated by spaces.
pub fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(parse_number).collect()
}

/// `major:minor`.
pub fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Files `<controller>.<page size>.<suffix>` of the hugetlb controller: the page sizes.
pub fn page_sizes(folder: &Path, suffix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut sizes: Vec<String> = names
        .filter_map(|name| {
            let size = name
                .strip_prefix("hugetlb.")?
                .strip_suffix(suffix)?
                .strip_suffix('.')?
                .to_owned();
            (!size.contains('.')).then_some(size)
        })
        .collect();
    sizes.sort_unstable();
    sizes
}
