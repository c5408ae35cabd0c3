//! Pulls from a registry of bad manners: it wants a token, breaks connections, and sends wrong bytes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Mutex, PoisonError},
    thread,
};

use davit_metadata::{Database, deaf};
use davit_registry::{Credentials, NoCredentials, Registry};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::Unpack;

/// What a registry answers to a path: bytes, or bytes after so many of which it breaks the connection once.
struct Answer {
    media_type: &'static str,
    bytes: Vec<u8>,
    break_at: Option<usize>,
}

#[derive(Default)]
struct Fake {
    answers: BTreeMap<String, Answer>,
    /// Paths and the ranges asked for.
    asked: Vec<(String, Option<usize>)>,
    wants_token: bool,
}

struct Server {
    address: String,
    fake: Arc<Mutex<Fake>>,
}

fn lock(fake: &Mutex<Fake>) -> std::sync::MutexGuard<'_, Fake> {
    fake.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes).into())
}

fn layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    // Bytes that do not compress, so that there is a middle to break at.
    let bytes: Vec<u8> = (0..200_000u32)
        .flat_map(|n| Sha256::digest(n.to_le_bytes())[..2].to_vec())
        .collect();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, "file", bytes.as_slice()).unwrap();
    builder.into_inner().unwrap()
}

impl Server {
    /// A registry with one image, `test:1`, of one layer.
    fn start() -> (Self, Digest) {
        let plain = layer();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&plain).unwrap();
        let blob = encoder.finish().unwrap();
        let platform = Platform::host();
        let config = format!(
            r#"{{"os":"linux","architecture":"{}","rootfs":{{"diff_ids":["{}"]}}}}"#,
            platform.architecture,
            digest(&plain)
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{}","size":{}}}]}}"#,
            oci::OCI_CONFIG,
            digest(config.as_bytes()),
            config.len(),
            digest(&blob),
            blob.len()
        );
        let layer = digest(&blob);
        let mut fake = Fake::default();
        let mut add = |path: String, media_type, bytes: &[u8]| {
            let answer = Answer {
                media_type,
                bytes: bytes.to_vec(),
                break_at: None,
            };
            fake.answers.insert(path, answer);
        };
        add("/v2/test/manifests/1".into(), oci::OCI_MANIFEST, manifest.as_bytes());
        add(
            format!("/v2/test/manifests/{}", digest(manifest.as_bytes())),
            oci::OCI_MANIFEST,
            manifest.as_bytes(),
        );
        add(
            format!("/v2/test/blobs/{}", digest(config.as_bytes())),
            "application/octet-stream",
            config.as_bytes(),
        );
        add(format!("/v2/test/blobs/{layer}"), "application/octet-stream", &blob);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Self {
            address: address.clone(),
            fake: Arc::new(Mutex::new(fake)),
        };
        let fake = server.fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (fake, address) = (fake.clone(), address.clone());
                thread::spawn(move || serve(stream, &fake, &address));
            }
        });
        (server, layer)
    }

    fn change(&self, layer: &Digest, change: impl FnOnce(&mut Answer)) {
        change(
            lock(&self.fake)
                .answers
                .get_mut(&format!("/v2/test/blobs/{layer}"))
                .unwrap(),
        );
    }
}

/// Serves one connection, one request.
fn serve(mut stream: TcpStream, fake: &Mutex<Fake>, address: &str) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    let headers: Vec<String> = lines
        .map_while(|line| line.ok().filter(|line| !line.is_empty()))
        .collect();
    let header = |name: &str| {
        let found = headers.iter().find(|line| line.to_lowercase().starts_with(name))?;
        Some(found.split_once(": ")?.1.to_owned())
    };
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let from = header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let mut fake = lock(fake);
    fake.asked.push((path.to_owned(), from));
    if path.starts_with("/token") {
        return reply(&mut stream, "200 OK", &[], br#"{"token":"t0"}"#);
    }
    if fake.wants_token && header("authorization").as_deref() != Some("Bearer t0") {
        let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"s\"");
        return reply(&mut stream, "401 Unauthorized", &[challenge], b"");
    }
    let Some(answer) = fake.answers.get_mut(path) else {
        return reply(&mut stream, "404 Not Found", &[], b"");
    };
    let mut more = vec![format!("Content-Type: {}", answer.media_type)];
    let bytes = &answer.bytes[from.unwrap_or_default()..];
    let status = if from.is_some() {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    if method == "HEAD" {
        more.push(format!("Docker-Content-Digest: {}", digest(&answer.bytes)));
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{}\r\n\r\n",
            bytes.len(),
            more.join("\r\n")
        )
        .ok()?;
        return Some(());
    }
    match answer.break_at.take() {
        None => reply(&mut stream, status, &more, bytes),
        Some(at) => {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", bytes.len()).ok()?;
            stream.write_all(&bytes[..at]).ok()
        }
    }
}

fn reply(stream: &mut TcpStream, status: &str, more: &[String], body: &[u8]) -> Option<()> {
    let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    )
    .ok()?;
    stream.write_all(body).ok()
}

struct World {
    _folder: tempfile::TempDir,
    storage: Storage,
    scope: Scope,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::open(&folder.path().join("meta.db")).unwrap());
        let storage = Storage::open(folder.path(), database, deaf()).unwrap();
        Self {
            _folder: folder,
            storage,
            scope: Scope::new("n".parse().unwrap()),
        }
    }

    async fn pull(&self, server: &Server) -> Result<Vec<Image>, ImageError> {
        let name = format!("{}/test:1", server.address);
        let credentials: Arc<dyn Credentials> = Arc::new(NoCredentials);
        let registry = Registry::new(&[]).unwrap().with_credentials(credentials);
        let destination = Destination {
            name: name.clone(),
            platforms: vec![Platform::host()],
            unpacks: vec![Unpack::default()],
            ..Destination::default()
        };
        let repository = registry.repository(name.parse().unwrap());
        self.storage
            .pull(&self.scope, repository, destination, Reporter::silent())
            .await
    }

    /// Waits until the lease of a pull that ended is gone: that happens behind its back.
    async fn settled(&self) {
        while !self.storage.leases.list(&self.scope).unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_is_resumed_where_it_broke() {
    let (server, layer) = Server::start();
    server.change(&layer, |answer| answer.break_at = Some(100_000));
    let world = World::new();
    let images = world.pull(&server).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(world.storage.snapshots.list(&world.scope).unwrap().len(), 1);
    let path = format!("/v2/test/blobs/{layer}");
    let ranges: Vec<_> = lock(&server.fake)
        .asked
        .iter()
        .filter(|asked| asked.0 == path)
        .map(|asked| asked.1)
        .collect();
    assert!(matches!(ranges.as_slice(), [None, Some(1..=100_000)]), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_and_used_for_everything() {
    let (server, _) = Server::start();
    lock(&server.fake).wants_token = true;
    World::new().pull(&server).await.unwrap();
    let asked = lock(&server.fake).asked.clone();
    let tokens: Vec<_> = asked.iter().filter(|asked| asked.0.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1, "{asked:?}");
    assert_eq!(tokens[0].0, "/token?scope=repository%3Atest%3Apull&service=s");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_from_a_registry_leave_nothing() {
    let spoils: [fn(&mut Answer); 3] = [
        |answer| answer.bytes[100_000] ^= 1,
        |answer| answer.bytes.push(0),
        |answer| answer.bytes.clear(),
    ];
    for spoil in spoils {
        let (server, layer) = Server::start();
        server.change(&layer, spoil);
        let world = World::new();
        assert!(world.pull(&server).await.is_err());
        world.settled().await;
        assert!(world.storage.images.list(&world.scope).unwrap().is_empty());
        assert!(world.storage.snapshots.list(&world.scope).unwrap().is_empty());
        assert!(world.storage.content.info(&world.scope, &layer).is_err());
    }
}
