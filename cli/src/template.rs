//! The part of Go's template language that `--format` needs.
//!
//! Docker's users write `--format '{{.Names}}\t{{.Status}}'`, and no kept crate understands it. A template is parsed once and
//! rendered over JSON values. There are fields, variables, pipelines, parentheses, `if`/`else if`/`else`, `range`, `with`,
//! comments, `{{-`/`-}}` trimming and the functions of [`functions`]. There is no `define`, `template` or `block`, and no
//! method call but the one form `.Label "key"`, which looks the key up in an object.

mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
mod value;

#[cfg(test)]
mod tests;

use serde_json::Value;

/// What is wrong with a template, or with the values it met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct TemplateError(String);

impl TemplateError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<parser::Node>,
}

impl Template {
    /// Parses the text of a template. Escapes such as `\t` are the caller's business: see [`unescape`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            nodes: parser::parse(&lexer::lex(text)?)?,
        })
    }

    /// The text of this template for one value, which is its `.` and `$`.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, data)
    }
}

/// Turns the two escapes that shells leave in a format, `\t` and `\n`, into their characters.
pub fn unescape(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}
