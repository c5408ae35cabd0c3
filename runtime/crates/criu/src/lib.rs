//! What is said to CRIU (`criu swrk FD`), and how: one protobuf message a packet.
//!
//! The words and the wire alone. Who starts criu, in which namespaces, and what a container's checkpoint consists of is
//! the runtime's business. No thread, no executor.

mod connection;
mod version;
mod wire;

pub use connection::{Connection, TalkError};
pub use version::Version;
pub use wire::{
    CgroupRoot, CriuCgMode, CriuFeatures, CriuNetworkLockMethod, CriuNotify, CriuOpts, CriuPageServerInfo, CriuReq,
    CriuReqType, CriuResp, ExtMountMap, InheritFd, JoinNamespace,
};
