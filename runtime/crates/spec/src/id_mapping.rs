//! Ids of a user namespace as ids outside of it.

use serde::{Deserialize, Serialize};

use crate::{Linux, NamespaceKind, SpecError};

/// How many mappings the kernel takes (`UID_GID_MAP_MAX_EXTENTS`, Linux 4.15).
const MAX_MAPPINGS: usize = 340;
/// A page, on machines with the smallest ones.
const PAGE: usize = 4096;

/// A run of ids: `container_id + n` inside is `host_id + n` outside, for n below `size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IdMapping {
    /// The first id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// What an id of the container is outside; `None` where it is not mapped.
pub fn to_host(mappings: &[IdMapping], id: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id)?;
        (offset < mapping.size)
            .then(|| mapping.host_id.checked_add(offset))
            .flatten()
    })
}

/// Mappings in the form of /proc/PID/uid_map.
pub fn to_table(mappings: &[IdMapping]) -> String {
    mappings
        .iter()
        .map(|mapping| format!("{} {} {}\n", mapping.container_id, mapping.host_id, mapping.size))
        .collect()
}

/// The mappings of a /proc/PID/uid_map; lines that are none are passed over.
pub fn from_table(table: &str) -> Vec<IdMapping> {
    table
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            Some(IdMapping {
                container_id: numbers.next()?.ok()?,
                host_id: numbers.next()?.ok()?,
                size: numbers.next()?.ok()?,
            })
        })
        .collect()
}

pub(crate) fn validate(linux: &Linux) -> Result<(), SpecError> {
    let maps = [
        ("linux.uidMappings", &linux.uid_mappings),
        ("linux.gidMappings", &linux.gid_mappings),
    ];
    let mapped = maps.iter().any(|(_, map)| !map.is_empty());
    let namespace = match (linux.namespace(NamespaceKind::User), mapped) {
        (None, true) => {
            return Err(SpecError::Shape(
                "user namespace mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        (None, false) => return Ok(()),
        (Some(namespace), _) => namespace,
    };
    if namespace.is_new() && !mapped {
        return Err(SpecError::Shape(
            "user namespaces enabled, but no namespace path to join nor mappings to apply specified",
        ));
    }
    for (field, map) in maps {
        validate_map(field, map)?;
        if namespace.is_new() && to_host(map, 0).is_none() {
            return Err(SpecError::NoRoot(field));
        }
    }
    Ok(())
}

/// The kernel takes a map in one write of less than a page, or not at all: a longer one is never cut (CVE-2021-43784).
pub(crate) fn validate_map(field: &'static str, map: &[IdMapping]) -> Result<(), SpecError> {
    let bytes = to_table(map).len();
    if map.len() > MAX_MAPPINGS || bytes >= PAGE {
        return Err(SpecError::TooManyMappings {
            field,
            count: map.len(),
            bytes,
        });
    }
    match map.iter().find(|mapping| mapping.size == 0) {
        Some(mapping) => Err(SpecError::Value {
            field,
            value: to_table(&[*mapping]).trim_end().to_owned(),
            problem: "has no size",
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping {
            container_id,
            host_id,
            size,
        }
    }

    #[test]
    fn an_id_is_looked_up_in_the_run_that_holds_it() {
        let mappings = [run(0, 1000, 1), run(1, 100_000, 10), run(u32::MAX, u32::MAX, 1)];
        assert_eq!(to_host(&mappings, 0), Some(1000));
        assert_eq!(to_host(&mappings, 10), Some(100_009));
        assert_eq!(to_host(&mappings, 11), None);
        assert_eq!(to_host(&mappings, u32::MAX), Some(u32::MAX));
        assert_eq!(to_host(&[], 0), None);
    }

    #[test]
    fn a_table_of_the_kernel_is_read_as_it_is_written() {
        let mappings = [run(0, 1000, 1), run(1, 100_000, 65_535)];
        assert_eq!(from_table(&to_table(&mappings)), mappings);
        let padded = "         0     100000      65534\n";
        assert_eq!(from_table(padded), [run(0, 100_000, 65_534)]);
    }

    #[test]
    fn a_map_that_the_kernel_would_not_take_whole_is_refused() {
        let small: Vec<_> = (0..200).map(|id| run(id, id, 1)).collect();
        assert!(validate_map("map", &small).is_ok());
        let many: Vec<_> = (0..341).map(|id| run(id, id, 1)).collect();
        assert!(validate_map("map", &many).is_err());
        let long: Vec<_> = (0..200)
            .map(|id| run(1_000_000_000 + id, 2_000_000_000 + id, 1))
            .collect();
        assert!(validate_map("map", &long).is_err());
        assert!(validate_map("map", &[run(0, 0, 0)]).is_err());
    }
}
