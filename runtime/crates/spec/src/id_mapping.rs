//! Ids of a container as ids of its host.

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_up_in_the_run_that_holds_it() {
        let run = |container_id, host_id, size| IdMapping {
            container_id,
            host_id,
            size,
        };
        let mappings = [run(0, 1000, 1), run(1, 100_000, 10), run(u32::MAX, u32::MAX, 1)];
        assert_eq!(to_host(&mappings, 0), Some(1000));
        assert_eq!(to_host(&mappings, 10), Some(100_009));
        assert_eq!(to_host(&mappings, 11), None);
        assert_eq!(to_host(&mappings, u32::MAX), Some(u32::MAX));
        assert_eq!(to_host(&[], 0), None);
    }
}
