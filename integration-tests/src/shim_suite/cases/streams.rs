//! The standard streams: FIFOs, files, logging programs, terminals.

use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

use davit_integration_tests::{program, wait};
use serde_json::json;
use tokio::time;

use crate::{
    task::process,
    world::{World, read},
};

pub async fn output_goes_through_fifos(world: World) {
    let mut task = world.task("c", "echo out; echo err >&2").await;
    let [out, err] = ["out", "err"].map(|name| world.fifo(name));
    task.request.stdout = out.display().to_string();
    task.request.stderr = err.display().to_string();
    let (out, err) = (read(out), read(err));
    task.run().await;
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    assert_eq!(out.await.expect("a reader"), "out\n");
    assert_eq!(err.await.expect("a reader"), "err\n");
}

pub async fn input_ends_when_it_is_closed(world: World) {
    let mut task = world.task("c", "cat; echo end").await;
    let [input, out, err] = ["in", "out", "err"].map(|name| world.fifo(name));
    task.request.stdin = input.display().to_string();
    task.request.stdout = out.display().to_string();
    task.request.stderr = err.display().to_string();
    let (out, _err) = (read(out), read(err));
    let write = tokio::task::spawn_blocking(move || {
        let mut input = File::options().write(true).open(input).expect("the shim opens it");
        input.write_all(b"words\n").expect("the shim reads");
    });
    task.run().await;
    write.await.expect("a writer");
    task.close_stdin("").await.expect("close");
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    assert_eq!(out.await.expect("a reader"), "words\nend\n");
}

pub async fn a_reader_that_has_gone_holds_nobody_up(world: World) {
    let script = "i=0; while [ $i -lt 300 ]; do echo a line that somebody may read; i=$((i+1)); done; exit 6";
    let mut task = world.task("c", script).await;
    let [out, err] = ["out", "err"].map(|name| world.fifo(name));
    task.request.stdout = out.display().to_string();
    task.request.stderr = err.display().to_string();
    let _err = read(err);
    let opened = tokio::task::spawn_blocking(move || drop(File::open(out).expect("the shim opens it")));
    task.create().await.expect("create");
    opened.await.expect("a reader that goes");
    task.start("").await.expect("start");
    let exit = time::timeout(Duration::from_secs(30), task.wait("")).await;
    assert_eq!(exit.expect("it is not held up").expect("wait"), 6);
    task.delete("").await.expect("delete");
}

pub async fn both_outputs_go_into_one_file(world: World) {
    let mut task = world.task("c", "echo out; sleep 0.2; echo err >&2").await;
    let path = world.scratch.join("log");
    fs::write(&path, "before\n").expect("a file");
    task.write_to(format!("file://{}", path.display()));
    task.run().await;
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    wait::until_true("both are in the file", 10, || {
        fs::read_to_string(&path).is_ok_and(|text| text == "before\nout\nerr\n")
    });
}

pub async fn a_logging_program_gets_both_outputs(world: World) {
    let logger = world.scratch.join("logger");
    let folder = world.scratch.path().display();
    let script = format!(
        "#!/bin/sh\necho $CONTAINER_ID $CONTAINER_NAMESPACE $* > {folder}/who\nexec 5>&-\n\
         cat <&3 > {folder}/out &\ncat <&4 > {folder}/err &\nwait\n"
    );
    program::write(&logger, &script);
    let mut task = world.task("c", "echo out; echo err >&2").await;
    task.write_to(format!("binary://{}?key=value", logger.display()));
    task.run().await;
    task.wait("").await.expect("wait");
    task.delete("").await.expect("delete");
    let has = |name: &str, text: &str| fs::read_to_string(world.scratch.join(name)).is_ok_and(|is| is == text);
    wait::until_true("the logger knows whose output it is", 10, || has("who", "c suite key value\n"));
    wait::until_true("the output is logged", 10, || has("out", "out\n") && has("err", "err\n"));
}

pub async fn a_terminal_has_the_size_that_it_is_given(world: World) {
    world.bundle("c", "read x; stty size");
    world.edit("c", |config| config["process"]["terminal"] = true.into());
    let mut task = world.task_in_bundle("c").await;
    let [input, out] = ["in", "out"].map(|name| world.fifo(name));
    task.request.terminal = true;
    task.request.stdin = input.display().to_string();
    task.request.stdout = out.display().to_string();
    let out = read(out);
    task.run().await;
    task.resize(123, 45).await.expect("resize");
    let write = tokio::task::spawn_blocking(move || {
        let mut input = File::options().write(true).open(input).expect("the shim opens it");
        input.write_all(b"\n").expect("the shim reads");
        input
    });
    let _input = write.await.expect("a writer");
    task.wait("").await.expect("wait");
    assert!(task.state("").await.expect("state").terminal);
    task.delete("").await.expect("delete");
    let out = out.await.expect("a reader");
    assert!(out.contains("45 123"), "{out:?}");
}

pub async fn a_process_has_streams_of_its_own(world: World) {
    let mut task = world.task("c", "echo first; sleep 1000").await;
    let [first, second] = ["first", "second"].map(|name| world.scratch.join(name));
    task.write_to(format!("file://{}", first.display()));
    task.run().await;
    let mut described = process("echo second; pwd");
    described["cwd"] = json!("/tmp");
    let uri = format!("file://{}", second.display());
    task.exec_process("e", &described, &uri).await.expect("exec");
    task.start("e").await.expect("start");
    task.wait("e").await.expect("wait");
    task.delete("e").await.expect("delete");
    assert_eq!(fs::read_to_string(second).expect("output"), "second\n/tmp\n");
    task.end().await;
    assert_eq!(fs::read_to_string(first).expect("output"), "first\n");
}
