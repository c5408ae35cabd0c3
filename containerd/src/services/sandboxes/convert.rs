//! Between the wire's sandbox and the record.

use std::time::SystemTime;

use davit_containerd_api::types::{Sandbox, sandbox::Runtime};
use davit_metadata::{RuntimeRecord, SandboxRecord};

use crate::services::records::{any_from_wire, any_to_wire, extensions_from_wire, extensions_to_wire};

pub(super) fn from_wire(sandbox: Sandbox, now: SystemTime) -> (String, SandboxRecord) {
    let runtime = sandbox.runtime.unwrap_or_default();
    let record = SandboxRecord {
        labels: sandbox.labels.into_iter().collect(),
        runtime: RuntimeRecord {
            name: runtime.name,
            options: runtime.options.map(any_from_wire),
        },
        spec: sandbox.spec.map(any_from_wire),
        created_at: now,
        updated_at: now,
        extensions: extensions_from_wire(sandbox.extensions),
        sandboxer: sandbox.sandboxer,
    };
    (sandbox.sandbox_id, record)
}

pub(super) fn to_wire(id: String, record: SandboxRecord) -> Sandbox {
    Sandbox {
        sandbox_id: id,
        runtime: Some(Runtime {
            name: record.runtime.name,
            options: record.runtime.options.map(any_to_wire),
        }),
        spec: record.spec.map(any_to_wire),
        labels: record.labels.into_iter().collect(),
        created_at: Some(record.created_at.into()),
        updated_at: Some(record.updated_at.into()),
        extensions: extensions_to_wire(record.extensions),
        sandboxer: record.sandboxer,
    }
}
