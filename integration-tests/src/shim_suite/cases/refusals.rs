//! What a shim must refuse, and with which code.

use serde_json::json;
use ttrpc::Code;

use crate::{task::refusal, world::World};

pub async fn an_unknown_container_is_not_found(world: World) {
    let task = world.task("c", "true").await;
    let codes = [
        refusal(task.state("").await),
        refusal(task.start("").await),
        refusal(task.wait("").await),
        refusal(task.kill("", 9).await),
        refusal(task.delete("").await),
        refusal(task.exec("e", "true").await),
        refusal(task.pids().await),
        refusal(task.pause().await),
        refusal(task.resume().await),
        refusal(task.update(&json!({})).await),
        refusal(task.stats().await),
        refusal(task.close_stdin("").await),
        refusal(task.resize(1, 1).await),
    ];
    assert_eq!(codes, [Code::NOT_FOUND; 13]);
    task.shutdown().await.expect("shutdown");
}

pub async fn an_unknown_process_is_not_found(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let codes = [
        refusal(task.state("e").await),
        refusal(task.start("e").await),
        refusal(task.wait("e").await),
        refusal(task.kill("e", 9).await),
        refusal(task.delete("e").await),
    ];
    assert_eq!(codes, [Code::NOT_FOUND; 5]);
    task.end().await;
}

pub async fn nothing_is_made_or_started_twice(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    refusal(task.start("").await);
    task.exec("e", "sleep 1000").await.expect("exec");
    assert_eq!(refusal(task.exec("e", "true").await), Code::ALREADY_EXISTS);
    assert!(task.state("").await.is_ok());
    task.end().await;
}

pub async fn what_runs_cannot_be_deleted(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.exec("e", "sleep 1000").await.expect("exec");
    task.start("e").await.expect("start");
    refusal(task.delete("e").await);
    refusal(task.delete("").await);
    assert!(task.state("e").await.is_ok());
    task.end().await;
}

pub async fn what_has_ended_cannot_be_signalled(world: World) {
    let (task, _) = world.running("c", "true").await;
    task.wait("").await.expect("wait");
    assert_eq!(refusal(task.kill("", 15).await), Code::NOT_FOUND);
    task.delete("").await.expect("delete");
}

pub async fn an_ended_container_takes_no_more_processes(world: World) {
    let (task, _) = world.running("c", "true").await;
    task.wait("").await.expect("wait");
    // The description may be taken, the start may not.
    if task.exec("e", "true").await.is_ok() {
        refusal(task.start("e").await);
    }
    task.delete("").await.expect("delete");
}
