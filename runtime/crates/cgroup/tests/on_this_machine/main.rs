//! The crate against the kernel it runs on. Needs root and a cgroup file system; skips itself elsewhere.
//!
//! Each test has a cgroup of its own, removed at its end, and processes of its own in it.
#![allow(clippy::unwrap_used)]

mod devices;
mod life;
mod limits;
mod trial;
