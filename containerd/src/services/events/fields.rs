//! The fields of an event that filters can name.

use davit_containerd_api::{any, events};
use prost_types::Any;

/// The value at `path` in an event of a known type; `None` where it is empty or there is none.
pub(super) fn field(event: &Any, path: &[String]) -> Option<String> {
    let [name] = path else { return None };
    let fields = texts(event)?;
    let (_, value) = fields.into_iter().find(|(known, _)| known == name)?;
    (!value.is_empty()).then_some(value)
}

type Texts = Vec<(&'static str, String)>;

macro_rules! texts {
    ($event:expr, $($type:path { $($field:ident),+ })+) => {
        $(if let Some(Ok(event)) = any::unpack::<$type>($event) {
            return Some(vec![$((stringify!($field), event.$field)),+]);
        })+
    };
}

fn texts(event: &Any) -> Option<Texts> {
    texts!(event,
        events::TaskCreate { container_id, bundle, checkpoint }
        events::TaskStart { container_id }
        events::TaskDelete { container_id, id }
        events::TaskExit { container_id, id }
        events::TaskOom { container_id }
        events::TaskExecAdded { container_id, exec_id }
        events::TaskExecStarted { container_id, exec_id }
        events::TaskPaused { container_id }
        events::TaskResumed { container_id }
        events::TaskCheckpointed { container_id, checkpoint }
        events::ContainerCreate { id, image }
        events::ContainerUpdate { id, image, snapshot_key }
        events::ContainerDelete { id }
        events::NamespaceCreate { name }
        events::NamespaceUpdate { name }
        events::NamespaceDelete { name }
        events::SnapshotPrepare { key, parent }
        events::SnapshotCommit { key, name }
        events::SnapshotRemove { key }
        events::ContentDelete { digest }
    );
    None
}
