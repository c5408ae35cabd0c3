//! Changes of labels through field masks, the same for every object.

use crate::Labels;

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelChange {
    /// All labels are replaced.
    Replace(Labels),
    /// One label is set; an empty value removes it.
    Set(String, String),
}

/// A path of a field mask that names no label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotALabel(pub String);

impl LabelChange {
    /// The changes that a mask's paths ask for; no path at all replaces all labels.
    pub fn from_mask(paths: &[String], labels: Labels) -> Result<Vec<Self>, NotALabel> {
        if paths.is_empty() {
            return Ok(vec![Self::Replace(labels)]);
        }
        let change = |path: &String| match path.strip_prefix("labels") {
            Some("") => Ok(Self::Replace(labels.clone())),
            Some(rest) if rest.starts_with('.') => {
                let key = rest[1..].to_owned();
                let value = labels.get(&key).cloned().unwrap_or_default();
                Ok(Self::Set(key, value))
            }
            _ => Err(NotALabel(path.clone())),
        };
        paths.iter().map(change).collect()
    }

    /// Carries changes out in order.
    pub fn apply(changes: Vec<Self>, labels: &mut Labels) {
        for change in changes {
            match change {
                Self::Replace(new) => *labels = new,
                Self::Set(key, value) if value.is_empty() => drop(labels.remove(&key)),
                Self::Set(key, value) => drop(labels.insert(key, value)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_changes_only_the_labels_that_it_names() {
        let mut labels = Labels::from([("a".into(), "1".into()), ("b.c".into(), "2".into())]);
        let new = Labels::from([("b.c".into(), "3".into()), ("d".into(), "4".into())]);
        let paths = ["labels.b.c".to_owned(), "labels.a".to_owned()];
        LabelChange::apply(LabelChange::from_mask(&paths, new.clone()).unwrap(), &mut labels);
        assert_eq!(labels, Labels::from([("b.c".into(), "3".into())]));
        LabelChange::apply(
            LabelChange::from_mask(&["labels".into()], new.clone()).unwrap(),
            &mut labels,
        );
        assert_eq!(labels, new);
        assert_eq!(
            LabelChange::from_mask(&["size".into()], new),
            Err(NotALabel("size".into()))
        );
    }
}
