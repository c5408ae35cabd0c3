//! Log drivers: what arrives, where those who take it come and go, too.

mod files;
mod fluentd;
mod gelf;
mod journald;
mod receivers;
mod syslog;

use std::path::PathBuf;

use davit_shim_api::task_v3::shim_ttrpc::TaskClient;
use davit_stdio::{LogDetails, LogDriver, LogTarget};
use ttrpc::Code;

use crate::{
    delete_request,
    rig::{Rig, soon},
    start_request, wait_request,
};

/// What a driver is asked for, beside the paths.
struct Log<'a> {
    driver: LogDriver,
    options: &'a [(&'a str, &'a str)],
    attributes: &'a [(&'a str, &'a str)],
}

impl Log<'_> {
    fn path(rig: &Rig) -> PathBuf {
        rig.scratch.join("x.log")
    }

    fn uri(&self, rig: &Rig) -> String {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let target = LogTarget {
            driver: self.driver,
            path: if self.driver.has_file() {
                Self::path(rig)
            } else {
                PathBuf::new()
            },
            attach: rig.scratch.join("a"),
            options: self.options.iter().map(own).collect(),
            details: LogDetails {
                name: "web".into(),
                image: "busybox".into(),
                image_id: "sha256:1234".into(),
                command: "sh -c x".into(),
                created: "2026-01-01T00:00:00Z".into(),
                attributes: self.attributes.iter().map(own).collect(),
            },
        };
        target.to_string()
    }

    /// A container with this log that has been started.
    async fn started(&self, rig: &Rig, script: &str) -> TaskClient {
        let client = rig.created("c1", script, "", &self.uri(rig)).await;
        client.start(soon(), &start_request("c1", "")).await.expect("start");
        client
    }

    /// What is said to a creation that must fail.
    async fn refused(&self, rig: &Rig, client: &TaskClient) -> (Code, String) {
        let request = rig.create_request("c1", "", &self.uri(rig));
        match client.create(soon(), &request).await.expect_err("it is refused") {
            ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
            other => panic!("no status: {other}"),
        }
    }
}

/// Waits for a container's end, and deletes it.
async fn ended(client: &TaskClient) {
    let wait = client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert_eq!(wait.exit_status, 0);
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
}
