//! What a group may use and has used, for `events`.

use std::{fs, io, path::Path, path::PathBuf};

use davit_cgroup::{CmtStats, IntelRdt, L3CacheInfo, MbmStats, MemBwInfo};

use super::{IntelRdtError, Membership};

impl Membership {
    /// The container's lines beside the default group's, and what the hardware has counted.
    pub fn stats(&self) -> Result<IntelRdt, IntelRdtError> {
        let mut stats = IntelRdt::default();
        let everybodys = self.text(&self.root.join("schemata"))?;
        let own = self.text(&self.group.join("schemata"))?;
        let cache = self.root.join("info/L3");
        if cache.is_dir() {
            stats.l3_cache_info = Some(L3CacheInfo {
                cbm_mask: self.text(&cache.join("cbm_mask"))?,
                min_cbm_bits: self.number(&cache.join("min_cbm_bits"))?,
                num_closids: self.number(&cache.join("num_closids"))?,
            });
            stats.l3_cache_schema_root = line_of(&everybodys, "L3");
            stats.l3_cache_schema = line_of(&own, "L3");
        }
        let bandwidth = self.root.join("info/MB");
        if bandwidth.is_dir() {
            stats.mem_bw_info = Some(MemBwInfo {
                bandwidth_gran: self.number(&bandwidth.join("bandwidth_gran"))?,
                delay_linear: self.number(&bandwidth.join("delay_linear"))?,
                min_bandwidth: self.number(&bandwidth.join("min_bandwidth"))?,
                num_closids: self.number(&bandwidth.join("num_closids"))?,
            });
            stats.mem_bw_schema_root = line_of(&everybodys, "MB");
            stats.mem_bw_schema = line_of(&own, "MB");
        }
        self.count(&mut stats)?;
        Ok(stats)
    }

    /// Of the container's monitoring group; without one, of all members of its class.
    fn count(&self, stats: &mut IntelRdt) -> Result<(), IntelRdtError> {
        let list = self.root.join("info/L3_MON/mon_features");
        let features = match fs::read_to_string(&list) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(|err| self.failure("read", &list, err))?,
        };
        let counted = |feature: &str| features.lines().any(|line| line.trim() == feature);
        let (total, local) = (counted("mbm_total_bytes"), counted("mbm_local_bytes"));
        let occupancy = counted("llc_occupancy");
        if !(total || local || occupancy) {
            return Ok(());
        }
        let domains = self.domains()?;
        let number = |domain: &Path, name: &str, counted: bool| match counted {
            true => self.number(&domain.join(name)),
            false => Ok(0),
        };
        if total || local {
            let traffic = domains.iter().map(|domain| {
                Ok(MbmStats {
                    mbm_total_bytes: number(domain, "mbm_total_bytes", total)?,
                    mbm_local_bytes: number(domain, "mbm_local_bytes", local)?,
                })
            });
            stats.mbm_stats = Some(traffic.collect::<Result<_, IntelRdtError>>()?);
        }
        if occupancy {
            let used = domains.iter().map(|domain| {
                let llc_occupancy = self.number(&domain.join("llc_occupancy"))?;
                Ok(CmtStats { llc_occupancy })
            });
            stats.cmt_stats = Some(used.collect::<Result<_, IntelRdtError>>()?);
        }
        Ok(())
    }

    /// The directories of the cache domains in the order of their names.
    fn domains(&self) -> Result<Vec<PathBuf>, IntelRdtError> {
        let data = self.monitoring.as_ref().unwrap_or(&self.group).join("mon_data");
        let failure = |err| self.failure("read", &data, err);
        let mut domains = Vec::new();
        for entry in fs::read_dir(&data).map_err(failure)? {
            let path = entry.map_err(failure)?.path();
            if path.is_dir() {
                domains.push(path);
            }
        }
        domains.sort();
        Ok(domains)
    }

    fn text(&self, path: &Path) -> Result<String, IntelRdtError> {
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .map_err(|err| self.failure("read", path, err))
    }

    fn number(&self, path: &Path) -> Result<u64, IntelRdtError> {
        let text = self.text(path)?;
        // The kernel writes `Unavailable` or `Error` where a counter cannot be read.
        text.parse().map_err(|_| IntelRdtError::NotANumber(path.into(), text))
    }
}

/// The line of one resource, by its whole name: `SMBA` is not `MB`.
fn line_of(schemata: &str, resource: &str) -> String {
    let mut lines = schemata.lines().map(str::trim);
    lines
        .find(|line| line.split_once(':').is_some_and(|(name, _)| name == resource))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tree(files: &[(&str, &str)], monitoring: bool) -> (tempfile::TempDir, Membership) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let group = folder.path().join("box");
        let membership = Membership {
            root: folder.path().into(),
            owned: true,
            monitoring: monitoring.then(|| group.join("mon_groups/box")),
            group,
        };
        (folder, membership)
    }

    const SHARES: [(&str, &str); 9] = [
        ("schemata", "    MB:0=100\n  SMBA:0=2048\n    L3:0=fff\n"),
        ("box/schemata", "    MB:0=20\n  SMBA:0=2048\n    L3:0=0ff\n"),
        ("info/L3/cbm_mask", "fff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
    ];

    #[test]
    fn shares_are_told_beside_everybodys() {
        let (_folder, membership) = tree(&SHARES, false);
        assert_eq!(
            serde_json::to_value(membership.stats().unwrap()).unwrap(),
            json!({
                "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fff",
                "l3_cache_schema": "L3:0=0ff",
                "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
                "mem_bw_schema_root": "MB:0=100",
                "mem_bw_schema": "MB:0=20",
            })
        );
    }

    #[test]
    fn counters_are_told_by_domain_and_of_the_monitoring_group_where_there_is_one() {
        let files = [
            ("schemata", ""),
            ("box/schemata", ""),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
            ("box/mon_data/mon_L3_01/llc_occupancy", "7\n"),
            ("box/mon_data/mon_L3_01/mbm_total_bytes", "8\n"),
            ("box/mon_data/mon_L3_00/llc_occupancy", "5\n"),
            ("box/mon_data/mon_L3_00/mbm_total_bytes", "6\n"),
            ("box/mon_groups/box/mon_data/mon_L3_00/llc_occupancy", "3\n"),
            ("box/mon_groups/box/mon_data/mon_L3_00/mbm_total_bytes", "Unavailable\n"),
        ];
        let (_folder, membership) = tree(&files, false);
        assert_eq!(
            serde_json::to_value(membership.stats().unwrap()).unwrap(),
            json!({
                "mbm_stats": [
                    {"mbm_total_bytes": 6, "mbm_local_bytes": 0},
                    {"mbm_total_bytes": 8, "mbm_local_bytes": 0},
                ],
                "cmt_stats": [{"llc_occupancy": 5}, {"llc_occupancy": 7}],
            })
        );
        let (_folder, membership) = tree(&files, true);
        let text = membership.stats().unwrap_err().to_string();
        assert!(text.contains("mon_groups") && text.contains("Unavailable"), "{text}");
    }
}
