//! Processes that are added to a container.

use davit_shim_api::{
    task_events::task::{TaskExecAdded, TaskExecStarted, TaskExit},
    task_v3::task::Status,
};
use serde_json::json;

use crate::{
    task::{process, refusal},
    world::World,
};

pub async fn a_process_is_added_started_and_ended_in_order(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.exec("e", "exit 4").await.expect("exec");
    let pid = task.start("e").await.expect("start");
    assert_eq!(task.wait("e").await.expect("wait"), 4);
    let deleted = task.delete("e").await.expect("delete");
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 4));
    world.told(&["create", "start", "exec-added", "exec-started", "exit"]).await;
    let added = &world.events.of::<TaskExecAdded>("/tasks/exec-added")[0];
    assert_eq!((added.container_id.as_str(), added.exec_id.as_str()), ("c", "e"));
    let started = &world.events.of::<TaskExecStarted>("/tasks/exec-started")[0];
    assert_eq!((started.exec_id.as_str(), started.pid), ("e", pid));
    let exit = &world.events.of::<TaskExit>("/tasks/exit")[0];
    assert_eq!((exit.container_id.as_str(), exit.id.as_str()), ("c", "e"));
    assert_eq!((exit.pid, exit.exit_status), (pid, 4));
    refusal(task.state("e").await);
    task.end().await;
}

pub async fn a_process_has_the_state_that_it_is_in(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.exec("e", "sleep 1000").await.expect("exec");
    assert_eq!(task.status("e").await, Status::CREATED);
    let pid = task.start("e").await.expect("start");
    let state = task.state("e").await.expect("state");
    assert_eq!((state.status.enum_value_or_default(), state.pid), (Status::RUNNING, pid));
    task.kill("e", 9).await.expect("kill");
    task.wait("e").await.expect("wait");
    let state = task.state("e").await.expect("state");
    assert_eq!((state.status.enum_value_or_default(), state.exit_status), (Status::STOPPED, 137));
    assert_eq!(task.status("").await, Status::RUNNING);
    task.delete("e").await.expect("delete");
    task.end().await;
}

pub async fn a_process_that_was_not_started_can_be_deleted(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.exec("e", "true").await.expect("exec");
    task.delete("e").await.expect("delete");
    task.exec("e", "exit 2").await.expect("its name is free again");
    task.start("e").await.expect("start");
    assert_eq!(task.wait("e").await.expect("wait"), 2);
    task.end().await;
}

pub async fn a_program_that_is_not_there_is_refused_and_the_process_stays_described(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let mut missing = process("");
    missing["args"] = json!(["/no/such/program"]);
    task.exec_process("e", &missing, "").await.expect("exec");
    let refused = task.start("e").await.expect_err("no program").to_string();
    assert!(refused.contains("/no/such/program"), "{refused}");
    assert_eq!(task.status("e").await, Status::CREATED);
    task.delete("e").await.expect("delete");
    assert_eq!(task.status("").await, Status::RUNNING);
    task.end().await;
}

pub async fn the_exit_of_the_first_process_is_the_last(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let names = ["e1", "e2", "e3", "e4", "e5"];
    for name in names {
        task.exec(name, "sleep 1000").await.expect("exec");
        task.start(name).await.expect("start");
    }
    task.kill("", 9).await.expect("kill");
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    let lives = ["exec-added", "exec-started"].repeat(names.len());
    let ends = [vec!["exit"; names.len() + 1], vec!["delete"]].concat();
    world.told(&[vec!["create", "start"], lives, ends].concat()).await;
    let exits = world.events.of::<TaskExit>("/tasks/exit");
    assert_eq!(exits.last().expect("exits").id, "c");
    assert!(exits.iter().all(|exit| exit.exit_status == 137));
}

pub async fn many_processes_end_each_with_its_own_code(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let runs = (0..20_u32).map(|number| {
        let task = task.clone();
        tokio::spawn(async move {
            let task = task.beside().await;
            let name = format!("e{number}");
            task.exec(&name, &format!("exit {number}")).await.expect("exec");
            task.start(&name).await.expect("start");
            assert_eq!(task.wait(&name).await.expect("wait"), number);
            task.delete(&name).await.expect("delete");
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("a process");
    }
    task.end().await;
    let told = 2 + 3 * 20 + 2;
    world.comes(|| world.topics().len() >= told).await;
    let exits = world.events.of::<TaskExit>("/tasks/exit");
    let of_execs = exits.iter().filter(|exit| exit.id != "c");
    assert!(of_execs.clone().all(|exit| exit.id == format!("e{}", exit.exit_status)));
    assert_eq!(of_execs.count(), 20);
}

pub async fn a_signal_goes_to_the_process_it_is_for(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    for name in ["e1", "e2"] {
        task.exec(name, "exec sleep 1000").await.expect("exec");
        task.start(name).await.expect("start");
    }
    task.kill("e1", 15).await.expect("kill");
    assert_eq!(task.wait("e1").await.expect("wait"), 143);
    assert_eq!(task.status("e2").await, Status::RUNNING);
    task.end().await;
}
