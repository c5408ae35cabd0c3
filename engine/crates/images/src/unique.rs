//! Names that no other call uses, in this process or another.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use jiff::Timestamp;

/// Digits and hyphens: valid in every place where containerd wants an identifier.
pub(crate) fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", Timestamp::now().as_microsecond(), process::id())
}
