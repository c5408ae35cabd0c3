//! Tables without lines: titles, columns three spaces apart, cut to the width of the terminal.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// Between columns.
const GAP: u16 = 3;

/// The least that a cut column keeps.
const LEAST: u16 = 8;

/// A table as text, each row on one line. Only flexible columns give way to `width`.
pub fn render(
    titles: Vec<String>,
    flexible: &[bool],
    rows: impl Iterator<Item = Vec<String>>,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_truncation_indicator("…");
    // A cell is cut where its room ends, not where a word does; this character is in no cell.
    table.set_delimiter('\0');
    table.set_header(one_line(titles));
    for row in rows {
        table.add_row(one_line(row));
    }
    let arrangement = match width {
        Some(width) => {
            table.set_width(width);
            ContentArrangement::Dynamic
        }
        None => ContentArrangement::Disabled,
    };
    table.set_content_arrangement(arrangement);
    let needed = table.column_max_content_widths();
    let last = needed.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at == last { 0 } else { GAP }));
        column.set_constraint(match flexible.get(at) {
            Some(true) => ColumnConstraint::LowerBoundary(Width::Fixed(LEAST.min(needed[at]) + GAP)),
            _ => ColumnConstraint::ContentWidth,
        });
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A row of one line. Control characters in names or commands must not reach the terminal.
fn one_line(cells: Vec<String>) -> Row {
    let tidy = |cell: String| cell.replace(char::is_control, " ");
    let mut row = Row::from(cells.into_iter().map(tidy));
    row.max_height(1);
    row
}
