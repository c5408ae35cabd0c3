//! `list`: all containers.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::MetadataExt,
};

use super::{CommandError, print};
use crate::{
    cli::List,
    container::{record::Record, status::Status, store::Store},
    state::{StateError, document, pid},
};

const HEADINGS: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
/// Between two columns.
const GAP: usize = 3;
const NARROWEST: usize = 12;

/// A container, and what else is known of it.
struct Row {
    record: Record,
    status: Status,
    name: String,
    owner: String,
}

/// A root that somebody names and that is not there is a slip; the usual one may not have been needed yet.
pub(super) fn run(store: &Store, args: &List, root_is_named: bool) -> Result<(), CommandError> {
    if root_is_named {
        store.must_exist()?;
    }
    let rows = rows(store)?;
    if args.quiet {
        let ids: String = rows.iter().map(|row| format!("{}\n", row.record.id)).collect();
        return Ok(print(&ids)?);
    }
    match args.format.as_str() {
        "json" => Ok(print(&json(&rows)?)?),
        "table" => Ok(print(&table(&cells(&rows)))?),
        _ => Err(CommandError::Usage("invalid format option".into())),
    }
}

/// What cannot be read is said and passed over: one damaged container must not hide the others.
fn rows(store: &Store) -> Result<Vec<Row>, CommandError> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut rows = Vec::new();
    for (name, found) in store.list()? {
        match found {
            Ok((folder, record)) => {
                let status = Status::of(&folder, &record);
                let uid = fs::metadata(folder.path()).map(|metadata| metadata.uid());
                rows.push(Row {
                    record,
                    status,
                    name: status.to_string(),
                    owner: uid.map_or_else(|_| String::new(), |uid| owner(&passwd, uid)),
                });
            }
            // Nobody may read it: eprintln! would end the list for that.
            Err(err) => drop(writeln!(io::stderr(), "load container {name}: {err}")),
        }
    }
    Ok(rows)
}

/// The name of a user, or `#` and the number of one without.
fn owner(passwd: &str, uid: u32) -> String {
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{number}"))
}

fn json(rows: &[Row]) -> Result<String, StateError> {
    let documents: Vec<_> = rows
        .iter()
        .map(|row| document(&row.record, row.status, &row.name, &row.owner))
        .collect();
    let json = serde_json::to_string(&documents)?;
    // Go writes a list that was never begun.
    Ok(format!("{}\n", if documents.is_empty() { "null" } else { &json }))
}

fn cells(rows: &[Row]) -> Vec<[String; 6]> {
    let row = |row: &Row| {
        [
            row.record.id.clone(),
            pid(&row.record, row.status).to_string(),
            row.name.clone(),
            row.record.bundle.display().to_string(),
            row.record.created.clone(),
            row.owner.clone(),
        ]
    };
    std::iter::once(HEADINGS.map(str::to_owned))
        .chain(rows.iter().map(row))
        .collect()
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

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn an_owner_without_a_name_is_a_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\n";
        assert_eq!(owner(passwd, 1000), "ann");
        assert_eq!(owner(passwd, 100), "#100");
    }
}
