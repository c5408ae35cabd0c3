//! Containers: records, life cycle, OCI spec, streams.
