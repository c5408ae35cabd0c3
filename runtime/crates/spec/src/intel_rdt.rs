//! `linux.intelRdt`: a share of the caches and of the memory bandwidth.

use serde::Deserialize;

use crate::{SpecError, null::or_default};

/// What a container gets of Intel's Resource Director Technology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// The class of service: a group of resctrl; one named like the container where empty, `/` for that of everybody.
    #[serde(rename = "closID", deserialize_with = "or_default")]
    pub class: String,
    /// Lines for the group's schemata, written after the two older fields.
    #[serde(deserialize_with = "or_default")]
    pub schemata: Vec<String>,
    /// The line of the L3 cache.
    #[serde(deserialize_with = "or_default")]
    pub l3_cache_schema: String,
    /// The line of the memory bandwidth.
    #[serde(deserialize_with = "or_default")]
    pub mem_bw_schema: String,
    /// Whether the container gets a monitoring group of its own.
    #[serde(deserialize_with = "or_default")]
    pub enable_monitoring: bool,
}

impl IntelRdt {
    /// All lines for the schemata, in the order that the specification asks for.
    pub fn lines(&self) -> Vec<&str> {
        let older = [self.l3_cache_schema.as_str(), self.mem_bw_schema.as_str()];
        let all = older.into_iter().chain(self.schemata.iter().map(String::as_str));
        all.filter(|line| !line.is_empty()).collect()
    }

    /// Refuses a class that is no name of a group, and lines that would be two.
    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        let class = self.class.as_str();
        if class == "." || class == ".." || class.contains('\0') || (class.len() > 1 && class.contains('/')) {
            return Err(SpecError::IntelRdt(format!("invalid intelRdt.ClosID {class:?}")));
        }
        match self.lines().into_iter().find(|line| line.contains('\n')) {
            Some(line) => Err(SpecError::IntelRdt(format!(
                "invalid intelRdt schema {line:?}: a newline"
            ))),
            None => Ok(()),
        }
    }
}
