//! Those who take records: sockets of the test's own.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time,
};

/// How long something that must come may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub async fn soon<T>(coming: impl Future<Output = T>) -> T {
    time::timeout(PATIENCE, coming).await.expect("it comes in time")
}

/// Reads a stream until it holds so many bytes `end`.
pub async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: u8, count: usize) -> Vec<u8> {
    let mut seen = Vec::new();
    while seen.iter().filter(|byte| **byte == end).count() < count {
        let mut bytes = [0; 4096];
        let length = soon(stream.read(&mut bytes)).await.expect("a stream");
        assert_ne!(length, 0, "ended after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..length]);
    }
    seen
}
