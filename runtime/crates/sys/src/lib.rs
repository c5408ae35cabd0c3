//! Kernel calls: the only home of unsafe.
//!
//! Just the calls that neither rustix nor nix has, or has only behind an `unsafe` of its own. Every function is safe to
//! call; what a caller must know beyond that (a single thread, a privilege) is said at the function.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod fds;
pub mod keyring;
pub mod landlock;
pub mod loopback;
pub mod mount_attr;
pub mod schedule;
pub mod seccomp;
pub mod signals;
