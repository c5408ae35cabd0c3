//! `process.execCPUAffinity`: where a process of `exec` runs.

use serde::Deserialize;

use crate::{null::or_default, number_list};

/// CPUs of a process that `exec` starts; an empty list says nothing. Without meaning for a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct CpuAffinity {
    /// Before the process is in the container's cgroup.
    pub initial: Vec<u32>,
    /// Once it is.
    pub last: Vec<u32>,
}

impl CpuAffinity {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.initial.is_empty() && self.last.is_empty()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    #[serde(deserialize_with = "or_default")]
    initial: String,
    #[serde(rename = "final", deserialize_with = "or_default")]
    last: String,
}

impl TryFrom<Raw> for CpuAffinity {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        Ok(CpuAffinity {
            initial: number_list::parse(&raw.initial).map_err(|err| format!("bad CPUAffinity.Initial: {err}"))?,
            last: number_list::parse(&raw.last).map_err(|err| format!("bad CPUAffinity.Final: {err}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_read_and_a_bad_one_is_named() {
        let affinity: CpuAffinity = serde_json::from_str(r#"{"initial": "0-1", "final": "3"}"#).unwrap();
        assert_eq!((affinity.initial, affinity.last), (vec![0, 1], vec![3]));
        let nothing: CpuAffinity = serde_json::from_str(r#"{"final": null}"#).unwrap();
        assert!(nothing.is_empty());
        let err = serde_json::from_str::<CpuAffinity>(r#"{"final": "x"}"#).unwrap_err();
        assert!(err.to_string().starts_with("bad CPUAffinity.Final"), "{err}");
    }
}
