//! `list`: all containers.

use super::{CommandError, print};
use crate::{
    cli::{Format, List},
    container::{status::Status, store::Store},
    state::document,
};

const HEADINGS: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
/// Between two columns.
const GAP: usize = 3;
const NARROWEST: usize = 12;

pub(super) fn run(store: &Store, args: &List) -> Result<(), CommandError> {
    let found = store.list()?;
    if args.quiet {
        return Ok(print(
            &found
                .iter()
                .map(|(_, record)| format!("{}\n", record.id))
                .collect::<String>(),
        )?);
    }
    let named: Vec<_> = found
        .iter()
        .map(|(folder, record)| {
            let status = Status::of(folder, record);
            (record, status, status.to_string())
        })
        .collect();
    match args.format {
        Format::Json => {
            let documents: Vec<_> = named
                .iter()
                .map(|(record, status, name)| document(record, *status, name))
                .collect();
            let json = serde_json::to_string(&documents).expect("a state is made of text and numbers");
            Ok(print(&format!(
                "{}\n",
                if documents.is_empty() { "null" } else { &json }
            ))?)
        }
        Format::Table => {
            let mut rows = vec![HEADINGS.map(str::to_owned)];
            rows.extend(named.into_iter().map(|(record, status, name)| {
                let pid = if status == Status::Stopped { 0 } else { record.init.pid };
                let bundle = record.bundle.display().to_string();
                [
                    record.id.clone(),
                    pid.to_string(),
                    name,
                    bundle,
                    record.created.clone(),
                    "root".into(),
                ]
            }));
            Ok(print(&table(&rows))?)
        }
    }
}

fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len() + GAP)
            .max()
            .unwrap_or(0)
            .max(NARROWEST)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    rows.iter()
        .map(|row| {
            let line: String = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            format!("{}\n", line.trim_end())
        })
        .collect()
}
