//! Events on their way to the manager.

use std::{fs, time::Duration};

use tokio::time;

use crate::world::{NAMESPACE, World};

pub async fn events_have_their_namespace_and_times_in_order(world: World) {
    let (task, _) = world.running("c", "true").await;
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    world.told(&["create", "start", "exit", "delete"]).await;
    let events = world.events.all();
    assert!(events.iter().all(|event| event.namespace == NAMESPACE));
    let times: Vec<_> = events
        .iter()
        .map(|event| (event.timestamp.seconds, event.timestamp.nanos))
        .collect();
    assert!(times.is_sorted() && times[0].0 > 0, "{times:?}");
    assert!(events.iter().all(|event| event.event.type_url.starts_with("containerd.events.Task")));
}

pub async fn what_a_manager_has_not_taken_is_sent_again(mut world: World) {
    let (task, _) = world.running("c", "until [ -e /tmp/go ]; do sleep 0.01; done; exit 9").await;
    world.told(&["create", "start"]).await;
    world.manager_goes().await;
    fs::write(world.scratch.join("image/tmp/go"), "").expect("the root is ours");
    assert_eq!(task.wait("").await.expect("wait"), 9);
    time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.topics().len(), 2);
    world.manager_comes().await;
    world.told(&["create", "start", "exit"]).await;
    task.delete("").await.expect("delete");
    world.told(&["create", "start", "exit", "delete"]).await;
}
