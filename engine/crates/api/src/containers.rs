//! `/containers/…`, a file a subject.

pub mod attach;
pub mod create;
pub mod life;
pub mod list;
pub mod logs;
pub mod top;
pub mod wait;
