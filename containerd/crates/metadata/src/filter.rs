//! The filter language of list calls (containerd, `pkg/filters`).
//!
//! ```text
//! filter   := selector ("," selector)*          all must hold
//! selector := path | path operator value        a path alone asks whether the field is there
//! path     := field ("." field)*
//! field    := quoted | [A-Za-z0-9_]+
//! operator := "==" | "!=" | "~="                ~= is a regular expression
//! value    := quoted | anything up to a comma or a space
//! quoted   := a Go string literal in "", and after ~= also in // or ||
//! ```
//!
//! Of several filters one must hold; no filter at all holds for everything.

mod parse;
mod quote;

use std::borrow::Cow;

use regex::Regex;

use crate::Labels;

pub use parse::InvalidFilter;

/// An object that filters can look into.
pub trait Fields {
    /// The value at this path, `None` where the object has none.
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>>;
}

/// The value of a label whose key is the rest of a path, joined by dots.
pub fn label<'a>(labels: &'a Labels, path: &[String]) -> Option<Cow<'a, str>> {
    labels.get(&path.join(".")).map(|value| Cow::Borrowed(value.as_str()))
}

/// A value that counts as there only when it is not empty.
pub fn non_empty(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// The filters of one call.
#[derive(Debug, Default)]
pub struct Filters(Vec<Vec<Selector>>);

#[derive(Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
    /// A regular expression that does not compile matches nothing, as at containerd.
    Never,
}

impl Filters {
    /// Parses every filter of a call.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self, InvalidFilter> {
        let parsed: Result<Vec<_>, _> = filters.iter().map(|filter| parse::filter(filter.as_ref())).collect();
        parsed.map(Self)
    }

    /// Whether `object` passes.
    pub fn matches(&self, object: &impl Fields) -> bool {
        self.0.is_empty()
            || self
                .0
                .iter()
                .any(|all| all.iter().all(|selector| selector.matches(object)))
    }
}

impl Selector {
    fn matches(&self, object: &impl Fields) -> bool {
        let value = object.field(&self.path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|value| value == *wanted),
            Test::NotEqual(unwanted) => value.unwrap_or_default() != *unwanted,
            Test::Matches(regex) => regex.is_match(&value.unwrap_or_default()),
            Test::Never => false,
        }
    }
}

#[cfg(test)]
mod tests;
