use std::time::SystemTime;

use davit_vocabulary::Namespace;

use crate::{LEASES, Labels, Records, Resource, StoreError, Writer};

/// The most bytes that a label's key and value may have together.
const LONGEST_LABEL: usize = 4096;

/// Where a call works: its namespace, and the lease that is to hold what the call makes.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The namespace of the call.
    pub namespace: Namespace,
    /// The lease named by the call.
    pub lease: Option<String>,
}

impl Scope {
    /// A scope without a lease.
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, lease: None }
    }

    /// The same namespace under this lease.
    pub fn with_lease(&self, lease: impl Into<String>) -> Self {
        Self {
            namespace: self.namespace.clone(),
            lease: Some(lease.into()),
        }
    }

    /// Puts a resource that the call made under the call's lease, where it has one.
    pub fn hold(&self, writer: &Writer, resource: Resource) -> Result<(), StoreError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let mut record = writer
            .get(&LEASES, &self.namespace, lease)?
            .ok_or_else(|| StoreError::NoLease(lease.clone()))?;
        if record.resources.insert(resource) {
            writer.put(&LEASES, &self.namespace, lease, &record)?;
        }
        Ok(())
    }

    /// Takes a resource from the call's lease, where it has one that still exists.
    pub fn release(&self, writer: &Writer, resource: &Resource) -> Result<(), StoreError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let Some(mut record) = writer.get(&LEASES, &self.namespace, lease)? else {
            return Ok(());
        };
        if record.resources.remove(resource) {
            writer.put(&LEASES, &self.namespace, lease, &record)?;
        }
        Ok(())
    }
}

/// A time as labels hold it.
pub fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).unwrap_or_default().to_string()
}

/// Refuses labels that are longer than containerd allows. `of` says for the message what they are of.
pub fn check_labels(of: &'static str, labels: &Labels) -> Result<(), StoreError> {
    for (key, value) in labels {
        let length = key.len() + value.len();
        if length > LONGEST_LABEL {
            return Err(StoreError::LabelTooLong {
                of,
                key: key.chars().take(64).collect(),
                length,
            });
        }
    }
    Ok(())
}
