//! Credentials that a client gives when a registry asks for them.

use std::sync::Arc;

use davit_containerd_api::{
    any,
    types::transfer::{AuthRequest, AuthResponse, AuthType},
};
use davit_registry::{AuthQuery, Credential, Credentials, RegistryError};
use tokio::sync::Mutex;

use crate::services::streaming::ClientStream;

struct Callback {
    stream: Mutex<ClientStream>,
}

/// Asks the client on its stream, one question at a time.
pub(super) fn callback(stream: ClientStream) -> Arc<dyn Credentials> {
    Arc::new(Callback {
        stream: Mutex::new(stream),
    })
}

#[tonic::async_trait]
impl Credentials for Callback {
    async fn get(&self, query: AuthQuery) -> Result<Credential, RegistryError> {
        let failed = |problem: String| RegistryError::Credentials(problem);
        let mut stream = self.stream.lock().await;
        let question = any::pack(&AuthRequest {
            host: query.host,
            reference: query.reference,
            wwwauthenticate: query.challenges,
        });
        let sent = stream.outgoing.send(Ok(question)).await;
        sent.map_err(|_| failed("the client does not listen any more".into()))?;
        let answer = stream
            .incoming
            .message()
            .await
            .map_err(|status| failed(status.to_string()))?;
        let answer = answer.ok_or_else(|| failed("the client gave no answer".into()))?;
        let answer: AuthResponse = any::unpack(&answer)
            .and_then(Result::ok)
            .ok_or_else(|| failed(format!("the client answered with {}", answer.type_url)))?;
        Ok(credential(answer))
    }
}

fn credential(answer: AuthResponse) -> Credential {
    match answer.auth_type() {
        AuthType::None => Credential::None,
        AuthType::Credentials => Credential::Basic {
            user: answer.username,
            secret: answer.secret,
        },
        AuthType::Refresh => Credential::Refresh(answer.secret),
        AuthType::Header => Credential::Header(answer.secret),
    }
}
