//! `null` as absence.

use serde::{Deserialize, Deserializer};

/// Reads a value, or its default where JSON says `null`.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
