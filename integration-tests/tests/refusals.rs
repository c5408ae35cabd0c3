//! What the manager refuses, and how: code, words and details are containerd's, to which the same calls go first.

mod refusals {
    mod ask;
    pub(crate) use ask::{Asked, ask, of_ours, on_both, with_both_shims};
    mod records;
    mod shims;
    mod storage;
    mod tasks;
}

#[path = "manager/channel.rs"]
#[expect(dead_code, reason = "the headers of a call are each test's own here")]
mod channel;
