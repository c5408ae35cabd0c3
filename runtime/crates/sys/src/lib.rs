//! Kernel calls: the only home of unsafe.
#![allow(unsafe_code)]

pub mod bpf;
pub mod seccomp;
