//! Cache and memory bandwidth shares in the shape of `runc events --stats`.

use serde::{Deserialize, Serialize};

/// Intel RDT; an empty object for a container without a share of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IntelRdt {
    /// What the machine's L3 caches allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<L3CacheInfo>,
    /// The default group's line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    /// The container's line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    /// What the machine's memory controllers allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<MemBwInfo>,
    /// The default group's line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    /// The container's line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// Memory traffic, one entry for each cache domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<MbmStats>>,
    /// Cache use, one entry for each cache domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<CmtStats>>,
}

/// Limits of `L3:` lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct L3CacheInfo {
    /// All bits of a mask.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cbm_mask: String,
    /// The fewest bits of a mask.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub min_cbm_bits: u64,
    /// How many groups there can be.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub num_closids: u64,
}

/// Limits of `MB:` lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemBwInfo {
    /// The step of a share.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub bandwidth_gran: u64,
    /// Whether the delay grows evenly.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub delay_linear: u64,
    /// The smallest share.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub min_bandwidth: u64,
    /// How many groups there can be.
    #[serde(skip_serializing_if = "crate::stats::is_zero")]
    pub num_closids: u64,
}

/// Memory traffic by one cache domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MbmStats {
    /// To all memory.
    pub mbm_total_bytes: u64,
    /// To the memory nearby.
    pub mbm_local_bytes: u64,
}

/// Use of one cache domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CmtStats {
    /// Bytes in the cache.
    pub llc_occupancy: u64,
}
