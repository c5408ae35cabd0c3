//! Listings: one kind of row drives the table, JSON and templates.

mod ago;
mod json;
mod size;
mod table;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use ago::{Local, ago, duration, rfc3339};
pub use json::indent;
pub use size::{Binary, Decimal, decimal};

use crate::{
    command_error::CommandError,
    output,
    template::{Template, unescape},
};

/// A column of a listing: the field of the row and the title over it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The field's name in templates and JSON.
    pub field: &'static str,
    /// What stands over it in a table.
    pub title: &'static str,
    /// Whether a narrow terminal may cut it.
    pub flexible: bool,
}

/// A column whose values are always shown whole.
pub const fn fixed(field: &'static str, title: &'static str) -> Column {
    Column {
        field,
        title,
        flexible: false,
    }
}

/// A column that gives way on a narrow terminal.
pub const fn flexible(field: &'static str, title: &'static str) -> Column {
    Column {
        field,
        title,
        flexible: true,
    }
}

/// What a command lists.
#[derive(Debug)]
pub struct Listing<'a> {
    /// All columns that a format can name.
    pub columns: &'a [Column],
    /// The fields of the table shown when no format is given.
    pub shown: &'a [&'a str],
    /// The rows.
    pub rows: Vec<Map<String, Value>>,
    /// Whether rows may be cut to the terminal's width.
    pub cut: bool,
}

impl Listing<'_> {
    /// Prints the rows in the format that the user asked for.
    pub fn print(&self, format: Option<&str>) -> Result<(), CommandError> {
        output::text(&self.render(format, self.cut.then(width).flatten())?)
    }

    /// The rows as text, tables no wider than `width`.
    pub fn render(&self, format: Option<&str>, width: Option<u16>) -> Result<String, CommandError> {
        match format {
            None | Some("" | "table") => Ok(self.default_table(width)),
            Some("json") => self.json(),
            Some(format) => match format.strip_prefix("table ") {
                Some(cells) => self.custom_table(&unescape(cells), width),
                None => self.lines(&unescape(format)),
            },
        }
    }

    fn default_table(&self, width: Option<u16>) -> String {
        let columns: Vec<_> = self.shown.iter().filter_map(|field| self.column(field)).collect();
        let titles = columns.iter().map(|column| column.title.to_owned()).collect();
        let flexible: Vec<_> = columns.iter().map(|column| column.flexible).collect();
        let cells = |row: &Map<String, Value>| columns.iter().map(|column| cell(row, column.field)).collect();
        table::render(titles, &flexible, self.rows.iter().map(cells), width)
    }

    fn custom_table(&self, format: &str, width: Option<u16>) -> Result<String, CommandError> {
        let template = Template::parse(format)?;
        let titles = split(&template.render(&self.titles())?);
        let mut rows = Vec::new();
        for row in &self.rows {
            rows.push(split(&template.render(&Value::Object(row.clone()))?));
        }
        let flexible = vec![false; titles.len()];
        Ok(table::render(titles, &flexible, rows.into_iter(), width))
    }

    /// A row whose values are the titles. A label's title is the last part of its key.
    fn titles(&self) -> Value {
        let titles = self
            .columns
            .iter()
            .map(|column| (column.field.to_owned(), column.title.into()));
        let mut titles: Map<String, Value> = titles.collect();
        let labels = self
            .rows
            .iter()
            .filter_map(|row| row.get("Label")?.as_object())
            .flatten();
        let title = |key: &String| key.rsplit('.').next().unwrap_or(key).to_uppercase();
        let labels: Map<_, _> = labels.map(|(key, _)| (key.clone(), title(key).into())).collect();
        titles.insert("Label".to_owned(), labels.into());
        titles.into()
    }

    fn lines(&self, format: &str) -> Result<String, CommandError> {
        let template = Template::parse(format)?;
        let mut text = String::new();
        for row in &self.rows {
            text.push_str(&template.render(&Value::Object(row.clone()))?);
            text.push('\n');
        }
        Ok(text)
    }

    fn json(&self) -> Result<String, CommandError> {
        let mut text = String::new();
        for row in &self.rows {
            let mut fields = row.clone();
            fields.retain(|name, _| self.column(name).is_some());
            text.push_str(&serde_json::to_string(&fields)?);
            text.push('\n');
        }
        Ok(text)
    }

    fn column(&self, field: &str) -> Option<Column> {
        self.columns.iter().find(|column| column.field == field).copied()
    }
}

/// Prints one thing in a format: JSON, or a template over it.
pub fn print_one(value: &Value, format: &str) -> Result<(), CommandError> {
    match format {
        "json" => output::line(value),
        _ => output::line(Template::parse(&unescape(format))?.render(value)?),
    }
}

/// A table without formats, such as another program's listing.
pub fn plain_table(titles: Vec<String>, rows: Vec<Vec<String>>) -> String {
    table::render(titles, &[], rows.into_iter(), None)
}

fn cell(row: &Map<String, Value>, field: &str) -> String {
    match row.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn split(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}

/// The width that tables have to keep: a pipe takes any.
fn width() -> Option<u16> {
    crate::terminal::size().map(|size| size.columns)
}
