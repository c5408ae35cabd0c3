//! A container's terminal follows the size of the user's.

use std::{future, time::Duration};

use hyper::Method;
use tokio::signal::unix::{SignalKind, signal};

use super::{Size, size};
use crate::client::{Client, encode};

/// What has a size.
#[derive(Debug, Clone)]
pub enum Resizable {
    /// The first process of a container.
    Container(String),
    /// A process of `exec`.
    Exec(String),
}

impl Resizable {
    /// Sets the size.
    pub async fn resize(&self, client: &Client, size: Size) -> bool {
        let path = match self {
            Self::Container(id) => format!("/containers/{}/resize", encode(id)),
            Self::Exec(id) => format!("/exec/{}/resize", encode(id)),
        };
        let (rows, columns) = (size.rows.to_string(), size.columns.to_string());
        let query = [("h", rows.as_str()), ("w", columns.as_str())];
        client.request(Method::POST, &path, &query).await.is_ok()
    }
}

/// Sets the size now and whenever the user's terminal changes. Never ends; drop it.
pub async fn follow_size(client: &Client, target: &Resizable) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else {
        return future::pending().await;
    };
    set_first_size(client, target).await;
    while changes.recv().await.is_some() {
        if let Some(size) = size() {
            target.resize(client, size).await;
        }
    }
    future::pending().await
}

/// The process may not have started yet when its first size is sent.
async fn set_first_size(client: &Client, target: &Resizable) {
    for attempt in 1..=10 {
        match size() {
            Some(size) if !target.resize(client, size).await => {
                tokio::time::sleep(Duration::from_millis(attempt * 10)).await;
            }
            _ => return,
        }
    }
}
