//! Parts that records of several kinds have, between the wire and the store.

use std::collections::{BTreeMap, HashMap};

use davit_metadata::{AnyRecord, Blob};
use prost_types::Any;

/// A typed message, as it is stored.
pub(super) fn any_from_wire(any: Any) -> AnyRecord {
    AnyRecord {
        type_url: any.type_url,
        value: Blob(any.value),
    }
}

/// A stored message.
pub(super) fn any_to_wire(any: AnyRecord) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value.0,
    }
}

/// Data of clients, as it is stored.
pub(super) fn extensions_from_wire(extensions: HashMap<String, Any>) -> BTreeMap<String, AnyRecord> {
    let stored = |(key, any)| (key, any_from_wire(any));
    extensions.into_iter().map(stored).collect()
}

/// Stored data of clients.
pub(super) fn extensions_to_wire(extensions: BTreeMap<String, AnyRecord>) -> HashMap<String, Any> {
    let given = |(key, any)| (key, any_to_wire(any));
    extensions.into_iter().map(given).collect()
}
