//! Mounts between the wire and the snapshotter.

use davit_containerd_api::types::Mount as WireMount;
use davit_snapshots::Mount;

/// Mounts for the wire.
pub(super) fn wire_mounts(mounts: Vec<Mount>) -> Vec<WireMount> {
    let wire = |mount: Mount| WireMount {
        r#type: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    mounts.into_iter().map(wire).collect()
}

/// Mounts that a client sent.
pub(super) fn mounts(wire: Vec<WireMount>) -> Vec<Mount> {
    let mount = |wire: WireMount| Mount {
        kind: wire.r#type,
        source: wire.source,
        target: wire.target,
        options: wire.options,
    };
    wire.into_iter().map(mount).collect()
}
