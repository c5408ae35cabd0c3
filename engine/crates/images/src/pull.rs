//! `docker pull`: a Transfer from a registry to the image store.

use davit_containerd_api::types::transfer::{
    AuthRequest, AuthResponse, AuthType, ImageStore, OciRegistry, Progress as Event, RegistryResolver,
};
use tonic::{Code, Status};

use crate::{
    Credentials, ImageError, Images, Platform, Progress, ProgressSender, Pulled, Reference, Result,
    error::containerd,
    manifest::Manifest,
    names::{self, Named},
    progress::LayerLines,
    stream::Channel,
    transfer,
};

pub(crate) async fn pull(
    images: &Images,
    reference: &Reference,
    platform: Option<&Platform>,
    credentials: Option<Credentials>,
    progress: ProgressSender,
) -> Result<Pulled> {
    let store = &images.inner.store;
    let name = reference.store_name();
    let before = names::get(store, &name).await?;
    // The old image must not lose its last name while the new one takes it.
    let kept = match &before {
        Some(old) => images.keep_dangling(old).await?,
        None => None,
    };
    let outcome = fetch(images, reference, platform, credentials, &progress).await;
    let pulled = match outcome {
        Ok(lines) => finish(images, reference, before.as_ref(), lines, &progress).await,
        Err(error) => Err(error),
    };
    let has_moved = matches!(&pulled, Ok(pulled) if pulled.changed);
    if let (Some(kept), false) = (kept, has_moved) {
        names::delete(store, &kept, false).await?;
    }
    pulled
}

/// Everything after the content is here: the digest's own name, and the last lines.
async fn finish(
    images: &Images,
    reference: &Reference,
    before: Option<&Named>,
    lines: LayerLines,
    progress: &ProgressSender,
) -> Result<Pulled> {
    let store = &images.inner.store;
    let familiar = reference.clone().or_latest().familiar();
    let name = reference.store_name();
    let named = names::get(store, &name)
        .await?
        .ok_or_else(|| ImageError::ManifestUnknown(familiar.clone()))?;
    images.inner.manifests.forget(&named.target);
    let Some(manifest) = images.inner.manifests.get(store, &named.target).await? else {
        names::delete(store, &name, false).await?;
        return Err(ImageError::NoMatchingPlatform(Platform::host().to_string()));
    };
    if reference.digest().is_none() {
        let by_digest = reference.with_digest(named.target.clone()).store_name();
        names::set(store, &by_digest, &named.descriptor).await?;
        names::delete(store, &names::dangling(&named.target), false).await?;
    }
    let changed = before.is_none_or(|before| before.target != named.target);
    if changed {
        lines.complete(&manifest, progress).await;
    }
    let status = match changed {
        true => format!("Status: Downloaded newer image for {familiar}"),
        false => format!("Status: Image is up to date for {familiar}"),
    };
    let _ = progress.send(Progress::Digest(named.target.clone())).await;
    let _ = progress.send(Progress::Status(status)).await;
    Ok(Pulled {
        digest: named.target,
        changed,
    })
}

async fn fetch(
    images: &Images,
    reference: &Reference,
    platform: Option<&Platform>,
    credentials: Option<Credentials>,
    progress: &ProgressSender,
) -> Result<LayerLines> {
    let store = &images.inner.store;
    let settings = &images.inner.settings;
    let platform = platform.cloned().unwrap_or_else(Platform::host);
    let logins = match credentials {
        Some(credentials) => Some((
            Channel::open(store, "auth").await.map_err(containerd("open stream"))?,
            credentials,
        )),
        None => None,
    };
    let source = OciRegistry {
        reference: reference.store_name(),
        resolver: Some(RegistryResolver {
            auth_stream: logins
                .as_ref()
                .map(|(channel, _)| channel.name.clone())
                .unwrap_or_default(),
            default_scheme: if settings.is_insecure(reference.domain()) {
                "http".into()
            } else {
                String::new()
            },
            ..Default::default()
        }),
    };
    let destination = ImageStore {
        name: reference.store_name(),
        platforms: vec![transfer::platform(&platform)],
        manifest_limit: 1,
        unpacks: vec![transfer::unpack(&platform, &settings.snapshotter)],
        ..Default::default()
    };
    let mut lines = LayerLines::new(reference);
    let mut listener = Told {
        lines: &mut lines,
        progress,
    };
    let transferred = transfer::run(store, &source, &destination, &mut listener);
    let outcome = tokio::select! {
        outcome = transferred => outcome,
        () = answer_logins(logins, reference) => unreachable!("it waits for ever"),
        // What is here already is kept by containerd for a while, for the next try.
        () = progress.closed() => return Err(ImageError::Cancelled),
    };
    outcome.map_err(|status| refusal(status, reference, &platform))?;
    Ok(lines)
}

/// Turns events into lines for the user.
struct Told<'a> {
    lines: &'a mut LayerLines,
    progress: &'a ProgressSender,
}

impl transfer::Listener for Told<'_> {
    async fn hear(&mut self, event: Event) {
        self.lines.tell(event, self.progress).await;
    }
}

/// Answers containerd's questions for credentials as long as it is polled.
async fn answer_logins(logins: Option<(Channel, Credentials)>, reference: &Reference) {
    if let Some((mut channel, credentials)) = logins {
        while let Some(AuthRequest { host, .. }) = channel.receive().await {
            let answer = match is_of_registry(&host, reference.domain()) {
                true => login(&credentials),
                false => AuthResponse::default(),
            };
            if !channel.send(&answer).await {
                break;
            }
        }
    }
    std::future::pending().await
}

/// Credentials are shown to the registry they were given for, and to no mirror or redirect.
fn is_of_registry(host: &str, domain: &str) -> bool {
    host == domain || (domain == "docker.io" && host == "registry-1.docker.io")
}

fn login(credentials: &Credentials) -> AuthResponse {
    let (kind, secret) = match credentials.identity_token.is_empty() {
        true => (AuthType::Credentials, &credentials.password),
        false => (AuthType::Refresh, &credentials.identity_token),
    };
    AuthResponse {
        auth_type: kind as i32,
        secret: secret.clone(),
        username: if kind == AuthType::Credentials {
            credentials.username.clone()
        } else {
            String::new()
        },
        expire_at: None,
    }
}

/// containerd's refusal in Docker's words.
fn refusal(status: Status, reference: &Reference, platform: &Platform) -> ImageError {
    let familiar = reference.clone().or_latest().familiar();
    let text = status.message();
    if text.contains("no match for platform") {
        return ImageError::NoMatchingPlatform(platform.to_string());
    }
    let is_denial = [
        "401 Unauthorized",
        "403 Forbidden",
        "authorization failed",
        "insufficient_scope",
        "access denied",
    ];
    if is_denial.iter().any(|words| text.contains(words)) {
        return ImageError::AccessDenied(reference.familiar_name());
    }
    if status.code() == Code::NotFound {
        return ImageError::ManifestUnknown(familiar);
    }
    let cause = text.rsplit("failed to do request: ").next().unwrap_or(text).to_owned();
    if cause.len() < text.len() {
        return ImageError::Registry(cause);
    }
    containerd("pull")(status)
}

impl LayerLines {
    /// Ends every layer's line: what was not spoken of was here before.
    async fn complete(mut self, manifest: &Manifest, progress: &ProgressSender) {
        for layer in &manifest.layers {
            self.finish(&layer.digest, progress).await;
        }
    }
}

impl crate::ImagesConfig {
    /// Whether a registry is spoken to without TLS: one on this machine, or one that the administrator named.
    fn is_insecure(&self, domain: &str) -> bool {
        let host = match domain.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => domain.split(':').next().unwrap_or(domain),
        };
        let is_loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        is_loopback
            || self
                .insecure_registries
                .iter()
                .any(|named| named == domain || named == host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(insecure: &[&str]) -> crate::ImagesConfig {
        crate::ImagesConfig {
            namespace: "davit".parse().unwrap(),
            snapshotter: "overlayfs".into(),
            insecure_registries: insecure.iter().map(|it| (*it).into()).collect(),
        }
    }

    #[test]
    fn only_loopback_and_named_registries_go_without_tls() {
        let settings = settings(&["reg.lan:5000", "plain.lan"]);
        for domain in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "127.9.9.9",
            "[::1]:80",
            "reg.lan:5000",
        ] {
            assert!(settings.is_insecure(domain), "{domain}");
        }
        assert!(settings.is_insecure("plain.lan:8080"));
        for domain in ["docker.io", "reg.lan", "128.0.0.1:5000", "localhost.example.com"] {
            assert!(!settings.is_insecure(domain), "{domain}");
        }
    }

    #[test]
    fn a_registrys_refusals_are_told_in_dockers_words() {
        let reference: Reference = "127.0.0.1:5000/web".parse().unwrap();
        let told = |status: Status| refusal(status, &reference, &Platform::host()).to_string();
        assert_eq!(
            told(Status::not_found(
                "failed to resolve image: 127.0.0.1:5000/web:latest: not found"
            )),
            "manifest for 127.0.0.1:5000/web:latest not found: manifest unknown: manifest unknown"
        );
        assert_eq!(
            told(Status::unknown(
                "failed to resolve image: unexpected status from HEAD request: 401 Unauthorized"
            )),
            "pull access denied for 127.0.0.1:5000/web, repository does not exist or may require 'docker login'"
        );
        assert_eq!(
            told(Status::unavailable(
                "failed to resolve image: failed to do request: Head \"http://x/\": refused"
            )),
            "Head \"http://x/\": refused"
        );
    }
}
