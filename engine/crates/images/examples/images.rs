//! Drives the crate by hand against any containerd: `images SOCKET VERB ARGUMENTS…`.
#![allow(clippy::print_stdout)]

use davit_engine_images::{
    Credentials, Images, ImagesConfig, Import, ListFilters, Platform, Reference, RemoveOptions, Result,
};
use tokio::{io::AsyncRead, net::UnixStream, sync::mpsc};
use tokio_util::io::ReaderStream;
use tonic::transport::{Channel, Endpoint, Uri};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [socket, verb, rest @ ..] = words.as_slice() else {
        panic!("images SOCKET VERB ARGUMENTS…")
    };
    let images = Images::new(
        connect(socket.to_string()).await,
        ImagesConfig {
            namespace: "davit".parse().expect("it is an identifier"),
            snapshotter: "overlayfs".into(),
            insecure_registries: Vec::new(),
        },
    );
    let begin = std::time::Instant::now();
    if let Err(error) = run(&images, verb, rest).await {
        println!("ERROR {:?} {error}", error.kind());
    }
    println!("({:?})", begin.elapsed());
}

async fn connect(socket: String) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://containerd");
    endpoint
        .connect_with_connector(connector)
        .await
        .expect("containerd answers")
}

async fn open(path: &str) -> ReaderStream<impl AsyncRead + Send + 'static> {
    let file = std::fs::File::open(path).expect("the archive opens");
    ReaderStream::new(Blocking(file))
}

/// Reads a file where it stands: good enough by hand.
struct Blocking(std::fs::File);

impl AsyncRead for Blocking {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let read = std::io::Read::read(&mut self.0, buffer.initialize_unfilled());
        std::task::Poll::Ready(read.map(|length| buffer.advance(length)))
    }
}

async fn run(images: &Images, verb: &str, rest: &[&str]) -> Result<()> {
    let (progress, mut lines) = mpsc::channel(16);
    let printer = tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            println!("{line:?}");
        }
    });
    match (verb, rest) {
        ("resolve", [name]) => {
            for _ in 0..2 {
                let begin = std::time::Instant::now();
                let image = images.resolve(name).await?;
                println!("{} {} {:?} {:?}", image.id, image.name, image.chain_id, begin.elapsed());
            }
        }
        ("unpack", [name]) => images.ensure_unpacked(&images.resolve(name).await?).await?,
        ("pull", [name, rest @ ..]) => {
            let reference: Reference = name.parse()?;
            let platform = rest.first().map(|text| text.parse::<Platform>()).transpose()?;
            let login = std::env::var("LOGIN").ok().and_then(|login| {
                let (username, password) = login.split_once(':')?;
                Some(Credentials {
                    username: username.into(),
                    password: password.into(),
                    ..Default::default()
                })
            });
            println!(
                "{:?}",
                images
                    .pull(&reference, platform.as_ref(), login, progress.clone())
                    .await?
            );
        }
        ("load", [path]) => println!("{:?}", images.load(open(path).await, progress.clone()).await?),
        ("import", [path, rest @ ..]) => {
            let reference = rest
                .first()
                .filter(|name| **name != "-")
                .map(|name| name.parse())
                .transpose()?;
            let changes = rest.iter().skip(1).map(|change| change.to_string()).collect();
            println!(
                "{}",
                images
                    .import(
                        open(path).await,
                        Import {
                            reference,
                            changes,
                            ..Default::default()
                        }
                    )
                    .await?
            );
        }
        ("list", references) => {
            let references = references.iter().map(|it| it.to_string()).collect();
            for line in images
                .list(&ListFilters {
                    references,
                    ..Default::default()
                })
                .await?
            {
                println!("{line:?}");
            }
        }
        ("inspect", [name]) => println!("{:#?}", images.inspect(name).await?),
        ("history", [name]) => println!("{:#?}", images.history(name).await?),
        ("tag", [name, target]) => images.tag(name, &target.parse()?).await?,
        ("rm", [name]) => println!("{:?}", images.remove(name, RemoveOptions::default(), &[]).await?),
        ("rmf", [name]) => {
            println!(
                "{:?}",
                images
                    .remove(
                        name,
                        RemoveOptions {
                            force: true,
                            ..Default::default()
                        },
                        &[]
                    )
                    .await?
            );
        }
        _ => panic!("no such verb"),
    }
    drop(progress);
    printer.await.expect("the printer does not panic");
    Ok(())
}
