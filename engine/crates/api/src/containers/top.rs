use std::collections::HashSet;

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use crate::{engine::App, error::ApiError, request::Params};

/// `GET /containers/{id}/top`: what this host's `ps` shows of the container's processes.
pub async fn top(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Json<Value>, ApiError> {
    let arguments = params.text("ps_args").unwrap_or("-ef");
    let container = app.containers.find(&id)?;
    let pids: HashSet<u32> = app.containers.pids(&container).await?.into_iter().collect();
    let failed =
        |error: &dyn std::fmt::Display| ApiError::new(davit_vocabulary::ErrorKind::Internal, format!("ps: {error}"));
    let output = tokio::process::Command::new("ps")
        .args(arguments.split_whitespace())
        .output();
    let output = output.await.map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&String::from_utf8_lossy(&output.stderr).trim()));
    }
    let (titles, rows) = select(&String::from_utf8_lossy(&output.stdout), &pids)?;
    Ok(Json(json!({ "Titles": titles, "Processes": rows })))
}

type Table = (Vec<String>, Vec<Vec<String>>);

/// Titles, and the lines of these pids. The last column may hold spaces.
fn select(text: &str, pids: &HashSet<u32>) -> Result<Table, ApiError> {
    let mut lines = text.lines();
    let titles: Vec<String> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let Some(column) = titles.iter().position(|title| title == "PID") else {
        return Err(ApiError::invalid("Couldn't find PID field in ps output"));
    };
    let rows = lines.filter_map(|line| {
        let row = split(line, titles.len());
        let pid = row.get(column)?.parse().ok()?;
        pids.contains(&pid).then_some(row)
    });
    let rows = rows.collect();
    Ok((titles, rows))
}

fn split(line: &str, columns: usize) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.split_at_checked(columns.saturating_sub(1)) {
        Some((first, rest)) if !rest.is_empty() => {
            let mut row: Vec<String> = first.iter().map(|&word| word.to_owned()).collect();
            row.push(rest.join(" "));
            row
        }
        _ => words.into_iter().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_lines_are_chosen_by_pid() {
        let text = "UID PID CMD\nroot 1 /sbin/init\nroot 42 sleep 1 2\n";
        let (titles, rows) = select(text, &HashSet::from([42])).unwrap();
        assert_eq!(titles, ["UID", "PID", "CMD"]);
        assert_eq!(rows, [["root", "42", "sleep 1 2"]]);
        assert!(select("USER\nroot\n", &HashSet::new()).is_err());
    }
}
