//! One file a gRPC service; here is what all of them share: the headers of a call and the way from an error to a status.
//!
//! A service converts wire types at its edge and calls a domain crate. It holds no state of its own.

use std::fmt::Display;

use davit_vocabulary::{ErrorKind, Namespace};
use tonic::{Code, Request, Status, metadata::MetadataMap};

pub mod containers;
pub mod content;
pub mod diff;
pub mod events;
pub mod health;
pub mod images;
pub mod introspection;
pub mod leases;
mod mounts;
pub mod namespaces;
mod records;
pub mod sandboxes;
pub mod snapshots;
pub mod storage;
pub mod streaming;
pub mod tasks;
pub mod transfer;
pub mod version;

/// The largest message in either direction, as containerd has it.
pub const MAX_MESSAGE: usize = 16 << 20;

/// The header that names the namespace of a call.
pub const NAMESPACE_HEADER: &str = "containerd-namespace";

/// The header that names the lease under which a call makes its objects.
pub const LEASE_HEADER: &str = "containerd-lease";

/// Gives a generated server the message limits of this daemon.
macro_rules! limited {
    ($server:expr) => {
        $server
            .max_decoding_message_size($crate::services::MAX_MESSAGE)
            .max_encoding_message_size($crate::services::MAX_MESSAGE)
    };
}
pub(crate) use limited;

/// The status for an error of this kind.
pub fn status(kind: ErrorKind, text: impl Display) -> Status {
    Status::new(Code::from_i32(kind.grpc_code()), text.to_string())
}

/// A status with what was tried before its own words.
pub(crate) fn in_words(tried: &str, status: Status) -> Status {
    Status::new(status.code(), format!("{tried}: {}", status.message()))
}

/// Runs work that blocks on the disk where it holds nobody up.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .expect("blocking work does not panic")
}

/// The namespace of a call.
///
/// # Errors
/// FAILED_PRECONDITION without one, INVALID_ARGUMENT for one that is no identifier, in containerd's words.
pub fn namespace<T>(request: &Request<T>) -> Result<Namespace, Status> {
    let text = header(request.metadata(), NAMESPACE_HEADER)
        .ok_or_else(|| Status::failed_precondition("namespace is required: failed precondition"))?;
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("namespace validation: {error}: invalid argument")))
}

/// The lease under which a call makes its objects, where it names one.
pub fn lease<T>(request: &Request<T>) -> Option<String> {
    header(request.metadata(), LEASE_HEADER).map(str::to_owned)
}

fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    let value = metadata.get(name)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_namespace(text: &'static str) -> Request<()> {
        let mut request = Request::new(());
        request.metadata_mut().insert(NAMESPACE_HEADER, text.parse().unwrap());
        request
    }

    #[test]
    fn a_call_without_a_namespace_is_refused_as_containerd_refuses_it() {
        let refused = namespace(&Request::new(())).unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().starts_with("namespace is required"));
    }

    #[test]
    fn a_namespace_that_is_a_path_is_refused() {
        assert_eq!(
            namespace(&with_namespace("../x")).unwrap_err().code(),
            Code::InvalidArgument
        );
        assert_eq!(namespace(&with_namespace("default")).unwrap().as_str(), "default");
    }
}
