//! The Docker Engine API: routes, wire types, streams.
