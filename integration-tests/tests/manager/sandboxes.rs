//! Sandboxes: what is shown to hold on the real containerd holds here, each time with our shim.

mod control;
mod grouping;
mod records;
mod rig;
