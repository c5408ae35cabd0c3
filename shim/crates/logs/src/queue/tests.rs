use std::time::Duration;

use jiff::Timestamp;
use tokio::time;

use super::*;
use crate::Source;

fn record(text: &str) -> Record<'_> {
    Record {
        source: Source::Stdout,
        time: Timestamp::UNIX_EPOCH,
        line: text.as_bytes().into(),
        partial: None,
    }
}

async fn texts(queue: &Queue) -> Vec<String> {
    let records = queue.all().await.unwrap();
    records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.line).into_owned())
        .collect()
}

fn mode(pairs: &[(&str, &str)]) -> Result<Mode, InvalidOption> {
    let given = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Mode::from_options(&mut Options::new(&given.collect()))
}

#[test]
fn modes_are_read_as_docker_reads_them() {
    assert_eq!(mode(&[]), Ok(Mode::Blocking));
    assert_eq!(mode(&[("mode", "blocking")]), Ok(Mode::Blocking));
    let non_blocking = |buffer| Ok(Mode::NonBlocking { buffer });
    assert_eq!(mode(&[("mode", "non-blocking")]), non_blocking(1_000_000));
    assert_eq!(
        mode(&[("mode", "non-blocking"), ("max-buffer-size", "4m")]),
        non_blocking(4 << 20)
    );
    for (pairs, text) in [
        (
            &[("mode", "lazy")][..],
            "log option mode=lazy: expected blocking or non-blocking",
        ),
        (
            &[("max-buffer-size", "4m")],
            "log option max-buffer-size needs mode=non-blocking",
        ),
    ] {
        assert_eq!(mode(pairs).unwrap_err().to_string(), text);
    }
}

#[tokio::test]
async fn in_non_blocking_mode_the_newest_are_dropped_and_one_always_fits() {
    let queue = Queue::new(Mode::NonBlocking {
        buffer: 2 * (OVERHEAD + 5),
    });
    for text in ["one", "two", "three", "four"] {
        queue.push(record(text));
        queue.room().await;
    }
    assert_eq!(texts(&queue).await, ["one", "two"]);
    let long = "x".repeat(1000);
    queue.push(record(&long));
    queue.push(record("five"));
    assert_eq!(texts(&queue).await, [long]);
}

#[tokio::test]
async fn empty_lines_do_not_grow_without_bound() {
    let queue = Queue::new(Mode::NonBlocking { buffer: 1000 });
    (0..10_000).for_each(|_| queue.push(record("")));
    assert_eq!(texts(&queue).await.len(), 1000 / OVERHEAD);
}

#[tokio::test]
async fn in_blocking_mode_nothing_is_dropped_and_the_writer_waits_until_there_is_room() {
    let queue = Queue::new(Mode::Blocking);
    let long = "x".repeat(Mode::WAITING);
    queue.push(record(&long));
    queue.push(record("more"));
    let full = time::timeout(Duration::from_millis(20), queue.room()).await;
    assert!(full.is_err());
    assert_eq!(texts(&queue).await, [long.as_str(), "more"]);
    queue.room().await;
    queue.close();
    assert_eq!(queue.all().await, None);
}

#[tokio::test]
async fn what_is_given_up_counts_with_what_was_taken_and_may_not_have_arrived() {
    let queue = Queue::new(Mode::Blocking);
    ["a", "b", "c"].iter().for_each(|text| queue.push(record(text)));
    queue.show(|_| ()).await;
    queue.show(|_| ()).await;
    assert_eq!((queue.give_up(), queue.give_up()), (2, 0));
    queue.push(record("d"));
    texts(&queue).await;
    queue.close();
    assert_eq!((queue.show(|_| ()).await, queue.give_up()), (None, 0));
}
