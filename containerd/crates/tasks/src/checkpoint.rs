//! What a task is restored from.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use davit_archive::{ArchiveError, Target};

use crate::{Bundle, TaskError};

/// The state of a task as criu has written it down.
#[derive(Debug)]
pub enum Checkpoint {
    /// A folder of criu's files, which is the client's.
    Folder(PathBuf),
    /// An archive of such a folder.
    Archive(File),
}

impl Checkpoint {
    /// The folder that a shim can restore from. An archive is unpacked among the files of the bundle, and goes with them.
    pub(crate) async fn folder(self, bundle: &Bundle) -> Result<PathBuf, TaskError> {
        let archive = match self {
            Self::Folder(path) => return Ok(path),
            Self::Archive(archive) => archive,
        };
        let folder = place(bundle);
        let unpacked = tokio::task::spawn_blocking(move || unpack(archive, &folder).map(|()| folder));
        let unpacked = unpacked.await.expect("unpacking does not panic");
        davit_fail_point::reach("manager.create.checkpoint-unpacked");
        unpacked.map_err(TaskError::Checkpoint)
    }
}

/// Removes what was unpacked: a task that runs does not need it any more.
pub(crate) async fn remove(bundle: &Bundle) {
    let folder = place(bundle);
    if !folder.exists() {
        return;
    }
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
        tracing::warn!(id = %bundle.id, %error, "a restored checkpoint stays until its task is deleted");
    }
}

/// On a disk: the state of a task is as large as its memory.
fn place(bundle: &Bundle) -> PathBuf {
    bundle.work.join("checkpoint")
}

fn unpack(archive: File, folder: &Path) -> Result<(), ArchiveError> {
    // What a task had in its memory is nobody's to read.
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|source| ArchiveError::Write {
        action: "make",
        name: folder.display().to_string(),
        source,
    })?;
    let target = Target {
        upper: folder.into(),
        lower: Vec::new(),
        is_overlay: false,
    };
    davit_archive::apply(archive, &target).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Seek, os::unix::fs::PermissionsExt};

    use super::*;

    fn archive_of(files: &Path) -> File {
        let mut archive = tempfile::tempfile().unwrap();
        davit_archive::diff(files, &archive).unwrap();
        archive.rewind().unwrap();
        archive
    }

    #[tokio::test]
    async fn an_archive_is_unpacked_where_nobody_else_reads_and_goes_when_the_task_runs() {
        let scratch = tempfile::tempdir().unwrap();
        let (namespace, id) = ("n".parse().unwrap(), "c".parse().unwrap());
        let bundle = Bundle::at(
            &scratch.path().join("root"),
            &scratch.path().join("state"),
            &namespace,
            &id,
        );
        bundle.create(None).unwrap();
        let files = scratch.path().join("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("inventory.img"), "x").unwrap();
        let checkpoint = Checkpoint::Archive(archive_of(&files));
        let folder = checkpoint.folder(&bundle).await.unwrap();
        assert_eq!(fs::read(folder.join("inventory.img")).unwrap(), b"x");
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        remove(&bundle).await;
        assert!(!folder.exists());
        remove(&bundle).await;
    }

    #[tokio::test]
    async fn a_clients_folder_is_left_where_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let (namespace, id) = ("n".parse().unwrap(), "c".parse().unwrap());
        let bundle = Bundle::at(scratch.path(), scratch.path(), &namespace, &id);
        let theirs = scratch.path().join("theirs");
        let folder = Checkpoint::Folder(theirs.clone()).folder(&bundle).await.unwrap();
        assert_eq!(folder, theirs);
    }
}
