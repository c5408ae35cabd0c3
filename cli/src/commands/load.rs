//! `davit load`

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::{
    command_error::CommandError,
    output,
    progress::{Progress, Step, Target},
    session::Session,
    terminal,
};

/// Load images from a tar archive
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Archive to read instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

/// Loads images.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let archive = match &args.input {
        Some(path) => open(path)?,
        None if terminal::stdin_is_terminal() => {
            return Err(CommandError::user("requested load from stdin, but stdin is empty").hint("-i names an archive"));
        }
        None => Box::new(std::io::stdin()),
    };
    let options = ImportImageOptions {
        quiet: args.quiet,
        ..ImportImageOptions::default()
    };
    let mut steps = session.docker().import_image_stream(options, chunks(archive), None);
    let mut progress = Progress::new(Target::Stdout, args.quiet);
    while let Some(step) = steps.next().await {
        let step = step?;
        if let Some(text) = &step.stream {
            progress.finish()?;
            output::text(text)?;
            progress = Progress::new(Target::Stdout, args.quiet);
            continue;
        }
        let detail = step.progress_detail.unwrap_or_default();
        progress.show(&Step {
            id: step.id.as_deref(),
            status: step.status.as_deref().unwrap_or_default(),
            current: detail.current,
            total: detail.total,
        })?;
    }
    progress.finish()
}

/// A file, with the path in its error.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, CommandError> {
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(CommandError::file(path, &error)),
    }
}

/// The bytes of an archive as a request's body, read on another thread.
pub fn chunks(mut source: Box<dyn Read + Send>) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let chunk = match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) => Err(error),
            };
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    })
}
