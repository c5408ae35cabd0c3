//! The attach socket: nothing is lost, doubled or waited for in vain.

use std::{fs, path::Path, time::Duration};

use davit_stdio::Frame;
use tokio::time;

use crate::{
    client::Attached,
    delete_request,
    rig::{Rig, soon},
    start_request, wait_request,
};

fn log_uri(folder: &Path) -> String {
    format!(
        "json-file://{}?attach={}",
        folder.join("x-json.log").display(),
        folder.join("a").display()
    )
}

/// The `log` fields of a json-file, joined.
fn logged(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a log");
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a record"))
        .map(|record| record["log"].as_str().expect("a text").to_owned())
        .collect()
}

#[tokio::test]
async fn output_is_exact_in_the_log_and_for_a_client_that_comes_and_goes() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let script = "i=0; while [ $i -lt 60000 ]; do echo line-$i; i=$((i+1)); done; printf tail";
    let client = rig.created("c1", script, "", &log_uri(folder)).await;
    let mut attached = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let mut seen = Vec::new();
    while let Some(bytes) = attached.output().await {
        seen.extend(bytes);
        // It breaks off, perhaps with more on the way, and resumes at what it has.
        let at = attached.at;
        drop(attached);
        attached = Attached::open(&folder.join("a"), Some(at)).await;
        assert_eq!(attached.at, at);
    }
    let expected: String = (0..60000)
        .map(|number| format!("line-{number}\n"))
        .chain(["tail".into()])
        .collect();
    assert!(
        seen == expected.as_bytes(),
        "{} bytes instead of {}",
        seen.len(),
        expected.len()
    );
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert!(
        logged(&folder.join("x-json.log")) == expected,
        "the log is complete when the exit is told"
    );
    let mut late = Attached::open(&folder.join("a"), Some(expected.len() as u64 - 4)).await;
    assert_eq!(late.rest().await, b"tail");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    assert!(!folder.join("a").exists());
}

#[tokio::test]
async fn input_comes_back_exactly_however_much_there_is() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let uri = format!("none://?attach={}", folder.join("a").display());
    let client = rig.created("c1", "cat", "attach:", &uri).await;
    let mut attached = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let input: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut sent, mut taken, mut seen) = (0, 0, Vec::new());
    while seen.len() < input.len() {
        while sent < input.len() && sent - taken + 32_000 <= davit_stdio::INPUT_WINDOW {
            let piece = &input[sent..(sent + 32_000).min(input.len())];
            // Half of it a second time, as after a broken connection.
            attached
                .send(&Frame::Stdin {
                    offset: Some(sent as u64),
                    data: piece.into(),
                })
                .await;
            attached
                .send(&Frame::Stdin {
                    offset: Some(sent as u64),
                    data: piece[..piece.len() / 2].into(),
                })
                .await;
            sent += piece.len();
        }
        match attached.next().await.expect("more") {
            Frame::StdinTaken { offset } => taken = offset as usize,
            Frame::Output { data, offset, .. } => {
                seen.extend_from_slice(&data);
                attached.at = offset + data.len() as u64;
                attached.send(&Frame::OutputTaken { offset: attached.at }).await;
            }
            other => panic!("{other:?}"),
        }
    }
    attached.send(&Frame::StdinClose).await;
    assert!(attached.rest().await.is_empty());
    assert!(seen == input);
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        0
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_writer_and_one_that_goes_frees_it() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let script = "head -c 8000000 /dev/zero; exit 4";
    let client = rig
        .created(
            "c1",
            script,
            "",
            &format!("none://?attach={}", folder.join("a").display()),
        )
        .await;
    let lazy = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let request = wait_request("c1", "");
    let held = time::timeout(Duration::from_secs(1), client.wait(soon(), &request)).await;
    assert!(held.is_err(), "the writer goes on without its reader");
    drop(lazy);
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        4
    );
}
