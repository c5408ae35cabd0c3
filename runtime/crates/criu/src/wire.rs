//! The generated messages.
#![allow(missing_docs, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/criu.rs"));
