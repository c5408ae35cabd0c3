//! A lease keeps what is being written until a name keeps it.

use davit_containerd_api::services::leases::v1::{CreateRequest, DeleteRequest};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;

use crate::{Result, content::Labels, error::containerd, store::Store};

/// How long a lease lives whose holder died: containerd collects it then.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// A lease; to be ended with [`Lease::end`]. Dropped instead, as when a client goes away, it is ended in the background.
pub(crate) struct Lease {
    store: Store,
    id: String,
    is_open: bool,
}

impl Lease {
    pub(crate) async fn begin(store: &Store) -> Result<Self> {
        let expire = Timestamp::now().saturating_add(LONGEST).unwrap_or(Timestamp::MAX);
        let labels = Labels::from([("containerd.io/gc.expire".into(), format!("{expire:.0}"))]);
        let id = format!("davit-{}", crate::unique::name());
        let request = CreateRequest { id: id.clone(), labels };
        store
            .leases()
            .create(request)
            .await
            .map_err(containerd("create lease"))?;
        Ok(Self {
            store: store.clone(),
            id,
            is_open: true,
        })
    }

    /// Clients whose writes it keeps.
    pub(crate) fn store(&self) -> Store {
        self.store.under_lease(&self.id)
    }

    pub(crate) async fn end(mut self) {
        self.is_open = false;
        delete(self.store.clone(), self.id.clone()).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (true, Ok(runtime)) = (self.is_open, Handle::try_current()) {
            runtime.spawn(delete(self.store.clone(), self.id.clone()));
        }
    }
}

async fn delete(store: Store, id: String) {
    let request = DeleteRequest {
        id: id.clone(),
        sync: false,
    };
    if let Err(status) = store.leases().delete(request).await {
        tracing::warn!(
            lease = id,
            error = status.message(),
            "a lease could not be ended; it expires"
        );
    }
}
