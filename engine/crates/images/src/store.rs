//! The gRPC clients: one channel, and the namespace (and lease) in every call's headers.

use davit_containerd_api::services::{
    content::v1::content_client::ContentClient, diff::v1::diff_client::DiffClient,
    images::v1::images_client::ImagesClient, leases::v1::leases_client::LeasesClient,
    snapshots::v1::snapshots_client::SnapshotsClient, streaming::v1::streaming_client::StreamingClient,
    transfer::v1::transfer_client::TransferClient,
};
use davit_vocabulary::Namespace;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// containerd's limit for one message, both ways.
const LARGEST_MESSAGE: usize = 16 << 20;

/// A channel with headers.
pub(crate) type Rpc = InterceptedService<Channel, Headers>;

/// What every call carries.
#[derive(Clone)]
pub(crate) struct Headers {
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            metadata.insert("containerd-lease", lease.clone());
        }
        Ok(request)
    }
}

/// Makes clients of containerd's services.
#[derive(Clone)]
pub(crate) struct Store {
    channel: Channel,
    headers: Headers,
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident, $client:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(&self) -> $client<Rpc> {
            $client::with_interceptor(self.channel.clone(), self.headers.clone())
                .max_decoding_message_size(LARGEST_MESSAGE)
                .max_encoding_message_size(LARGEST_MESSAGE)
        }
    };
}

impl Store {
    pub(crate) fn new(channel: Channel, namespace: &Namespace) -> Self {
        let namespace = namespace
            .as_str()
            .parse()
            .expect("a namespace is ASCII letters, digits, '.', '_' and '-'");
        Self {
            channel,
            headers: Headers { namespace, lease: None },
        }
    }

    /// The same clients, with their writes kept by a lease.
    pub(crate) fn under_lease(&self, id: &str) -> Self {
        let lease = Some(id.parse().expect("a lease id is ASCII"));
        Self {
            headers: Headers {
                lease,
                ..self.headers.clone()
            },
            ..self.clone()
        }
    }

    client!(images, ImagesClient);
    client!(content, ContentClient);
    client!(snapshots, SnapshotsClient);
    client!(diff, DiffClient);
    client!(leases, LeasesClient);
    client!(transfer, TransferClient);
    client!(streaming, StreamingClient);
}
