//! `linux.memoryPolicy`: from which memory nodes a container's pages come (set_mempolicy(2)).

use serde::Deserialize;

use crate::{null::or_default, number_list};

/// The modes by config.json's names, with the kernel's numbers (include/uapi/linux/mempolicy.h).
pub const MODES: [(&str, u32); 7] = [
    ("MPOL_BIND", 2),
    ("MPOL_DEFAULT", 0),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED", 1),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// The flags by config.json's names, as bits beside the mode.
pub const FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// A policy that the kernel has a number for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub struct MemoryPolicy {
    /// The mode's name, for people.
    pub name: String,
    /// Mode and flags, as set_mempolicy(2) takes them.
    pub mode: u32,
    /// The nodes.
    pub nodes: Vec<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    #[serde(deserialize_with = "or_default")]
    mode: String,
    #[serde(deserialize_with = "or_default")]
    nodes: String,
    #[serde(deserialize_with = "or_default")]
    flags: Vec<String>,
}

impl TryFrom<Raw> for MemoryPolicy {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let mut mode = number(&MODES, &raw.mode).ok_or_else(|| format!("invalid memory policy mode {:?}", raw.mode))?;
        for flag in &raw.flags {
            mode |= number(&FLAGS, flag).ok_or_else(|| format!("invalid memory policy flag {flag:?}"))?;
        }
        let nodes = number_list::parse(&raw.nodes)
            .map_err(|err| format!("invalid memory policy nodes {:?}: {err}", raw.nodes))?;
        // The kernel only says EINVAL.
        if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&raw.mode.as_str()) && !nodes.is_empty() {
            return Err(format!(
                "invalid memory policy {}: mode requires 0 nodes but got {}",
                raw.mode,
                nodes.len()
            ));
        }
        Ok(MemoryPolicy {
            name: raw.mode,
            mode,
            nodes,
        })
    }
}

fn number(table: &[(&str, u32)], name: &str) -> Option<u32> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<MemoryPolicy, String> {
        serde_json::from_str(json).map_err(|err| err.to_string())
    }

    #[test]
    fn a_mode_carries_its_flags() {
        let policy = read(r#"{"mode": "MPOL_BIND", "nodes": "0,2", "flags": ["MPOL_F_STATIC_NODES"]}"#).unwrap();
        assert_eq!((policy.mode, policy.nodes), (2 | 1 << 15, vec![0, 2]));
    }

    #[test]
    fn what_the_kernel_has_no_number_for_is_refused_by_name() {
        for (json, text) in [
            ("{}", "invalid memory policy mode \"\""),
            (r#"{"mode": "BIND"}"#, "invalid memory policy mode \"BIND\""),
            (
                r#"{"mode": "MPOL_BIND", "flags": ["x"]}"#,
                "invalid memory policy flag \"x\"",
            ),
            (
                r#"{"mode": "MPOL_BIND", "nodes": "x"}"#,
                "invalid memory policy nodes \"x\"",
            ),
            (
                r#"{"mode": "MPOL_DEFAULT", "nodes": "0-7"}"#,
                "mode requires 0 nodes but got 8",
            ),
        ] {
            let err = read(json).unwrap_err();
            assert!(err.contains(text), "{err}");
        }
    }
}
