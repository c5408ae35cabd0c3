//! What cannot come out as it should, and why. A row without a true reason does not belong here.

use super::Manager;

/// What of the machine, and of the run, a reason may depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) manager: Manager,
    /// Whether CRIU works on this kernel.
    pub(super) criu: bool,
}

/// When a row holds.
#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    WithoutCriu,
    On(Manager),
}

impl When {
    fn holds(self, conditions: Conditions) -> bool {
        match self {
            Self::Always => true,
            Self::WithoutCriu => !conditions.criu,
            Self::On(manager) => conditions.manager == manager,
        }
    }
}

const NETWORK: &str = "pulls from a public registry: fails on a machine without a network";
const NO_CRIU: &str = "criu check fails on this kernel";

/// Test, when, and why it fails or is skipped.
const ROWS: &[(&str, When, &str)] = &[
    ("TestImagePullSomePlatforms", When::Always, NETWORK),
    ("TestImagePullWithDistSourceLabel", When::Always, NETWORK),
    (
        "TestIDMappedOverlay",
        When::On(Manager::Ours),
        "our snapshotter does not remap ids yet, and refuses the labels that ask for it",
    ),
    (
        "TestLeaseResources",
        When::On(Manager::Ours),
        "asks for the snapshotter `native`, which we do not offer",
    ),
    (
        "TestTransferEcho",
        When::On(Manager::Ours),
        "asks for a transfer from one archive stream into another, which only tests do",
    ),
    (
        "TestTransferImport",
        When::On(Manager::Ours),
        "we name an index by its digest, too, where digests are asked for",
    ),
    (
        "TestMigration",
        When::On(Manager::Containerds),
        "Debian's containerd does not move a sandbox image that a file of 1.7 names",
    ),
    ("TestCheckpointRestorePTY", When::WithoutCriu, NO_CRIU),
    ("TestCheckpointRestore", When::WithoutCriu, NO_CRIU),
    ("TestCheckpointRestoreNewContainer", When::WithoutCriu, NO_CRIU),
    ("TestCheckpointLeaveRunning", When::WithoutCriu, NO_CRIU),
    ("TestCheckpointRestoreWithImagePath", When::WithoutCriu, NO_CRIU),
    ("TestCheckpointOnPauseStatus", When::WithoutCriu, NO_CRIU),
];

/// Why a test need not pass, where there is a reason.
pub(super) fn reason(test: &str, conditions: Conditions) -> Option<&'static str> {
    let mut rows = ROWS
        .iter()
        .filter(|(name, when, _)| *name == test && when.holds(conditions));
    rows.next().map(|(_, _, why)| *why)
}
