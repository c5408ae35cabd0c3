//! The shim: holds a container's streams, waits for it and tells how it ended.
//!
//! One process per container or group of containers. It is the parent of their processes, so it must outlive both daemons above
//! it, and it needs neither of them to keep output flowing or to record an exit. It runs on one thread: what happens between
//! two awaits happens at once, and several arguments in the modules below rest on that.
//!
//! The modules in reading order: the command line and its three actions ([`arguments`], [`bootstrap`], [`start`], [`cleanup`],
//! [`info`], [`upgrade`]), the serving process ([`serve`], [`shim`], [`server`], [`service`], [`handover`]), containers and their
//! processes ([`container`], [`process`]), the sandbox they may be part of ([`sandbox`]), and what they rest on ([`reaper`], [`oci`],
//! [`stdio`], [`rootfs`], [`cgroup`], [`events`]).

pub mod arguments;
pub mod bootstrap;
pub mod bundle;
pub mod cgroup;
pub mod cleanup;
pub mod confirmation;
pub mod container;
mod convert;
pub mod error;
pub mod events;
pub mod exit;
pub mod handover;
pub mod info;
pub mod oci;
pub mod process;
pub mod reaper;
pub mod rootfs;
pub mod sandbox;
pub mod serve;
pub mod server;
pub mod service;
pub mod shim;
mod shim_cgroup;
pub mod socket;
pub mod start;
pub mod stdio;
mod unsent;
pub mod untold;
pub mod upgrade;
