//! What something still needs: the pure marking algorithm and the graph that it walks.
//!
//! The graph follows containerd's labels: `containerd.io/gc.root`, `containerd.io/gc.ref.{content,image,snapshot.<name>}`,
//! `containerd.io/gc.bref.{container,content,image,snapshot.<name>}`, `containerd.io/gc.expire`, `containerd.io/gc.flat`.
//! Nothing here removes anything: the owner of the files and directories does that, in one transaction with the marking.

mod graph;
mod labels;
mod mark;

pub use graph::{Garbage, Graph};
pub use mark::{Kind, Node, reachable};
