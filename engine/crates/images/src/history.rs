//! `docker history`.

use crate::{HistoryEntry, Images, Result, catalog::Catalog, config::History, list::parse_time, resolve::Query};

pub(crate) async fn history(images: &Images, name_or_id: &str) -> Result<Vec<HistoryEntry>> {
    let query = Query::parse(name_or_id)?;
    let catalog = Catalog::read(images).await?;
    let image = catalog.find(name_or_id, &query).ok_or_else(|| query.not_found())?;
    let sizes = images.layer_sizes(&image.manifest).await?;
    let mut entries = entries(&image.manifest.config.history, &sizes);
    entries.reverse();
    if let Some(newest) = entries.first_mut() {
        newest.id = Some(image.id().clone());
        newest.tags = image.tags();
    }
    Ok(entries)
}

/// Steps, oldest first, each with the size of its layer. Layers that no step tells of have none to be shown in.
fn entries(history: &[History], sizes: &[i64]) -> Vec<HistoryEntry> {
    let mut sizes = sizes.iter();
    let entry = |step: &History| HistoryEntry {
        id: None,
        created: parse_time(step.created.as_deref()),
        created_by: step.created_by.clone(),
        tags: Vec::new(),
        size: if step.empty_layer {
            0
        } else {
            sizes.next().copied().unwrap_or(0)
        },
        comment: step.comment.clone(),
    };
    history.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_layer_take_no_layers_size() {
        let step = |empty_layer| History {
            empty_layer,
            ..Default::default()
        };
        let sizes: Vec<i64> = entries(&[step(false), step(true), step(false), step(false)], &[5, 7])
            .iter()
            .map(|it| it.size)
            .collect();
        assert_eq!(sizes, [5, 0, 7, 0]);
    }
}
