//! The manager: containerd's API over snapshots, content and shims.
//!
//! It owns no container. Every container hangs from its shim, a process of its own session that outlives this one; what is
//! kept here is the record of what a client asked for, and the way to the shims. After a restart the record is reconciled
//! with the shims that are found, never the other way round.
//!
//! In reading order: [`arguments`] and [`config`] (what the daemon is told), [`server`] (sockets and the list of services),
//! [`daemon`] (what the services share), [`services`] (one file a gRPC service, each converting at its edge), [`containers`]
//! and [`sandboxes`] (their records, each [`kept`] in the same way), [`checkpoints`] (tasks in the content store), [`events`] (the bus between all of
//! them), [`recorder`] (the way of task events onto it, through the journal), [`resume`] (a subscription that goes on from a
//! cursor), [`forward`] (the socket on which shims forward events), [`publish`] (the command by which shims that cannot do so
//! publish them), [`oci_hook`] (one that fills in a hook's arguments), [`restart`] (what keeps tasks running without a client),
//! [`metrics`] and [`inspection`] (what an operator looks at).

pub mod arguments;
pub mod checkpoints;
pub mod config;
pub mod containers;
pub mod daemon;
mod deaths;
pub mod events;
pub mod forward;
pub mod inspection;
pub mod kept;
pub mod logging;
pub mod metrics;
pub mod oci_hook;
pub mod oneself;
pub mod publish;
pub mod recorder;
pub mod restart;
pub mod resume;
pub mod sandboxes;
pub mod server;
pub mod services;
pub mod version;
mod wording;
