//! Whole blobs on disk.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};

use davit_vocabulary::Digest;

use crate::{ContentError, error::file};

/// The folder of blobs.
pub(crate) struct Blobs {
    root: PathBuf,
}

impl Blobs {
    pub(crate) fn open(root: &Path) -> Result<Self, ContentError> {
        let root = root.join("blobs");
        let folder = root.join("sha256");
        fs::create_dir_all(&folder).map_err(file("create", &folder))?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size of a blob, `None` where there is none.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>, ContentError> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file("stat", &path)(error)),
        }
    }

    pub(crate) fn reader(&self, digest: &Digest) -> Result<BlobReader, ContentError> {
        let path = self.path(digest);
        let blob = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ContentError::NotFound(digest.clone()),
            _ => file("open", &path)(error),
        })?;
        let size = blob.metadata().map_err(file("stat", &path))?.len();
        Ok(BlobReader { blob, size, path })
    }

    /// Makes a finished and synced data file a blob. One that exists already stays.
    pub(crate) fn adopt(&self, data: &Path, digest: &Digest) -> Result<(), ContentError> {
        let target = self.path(digest);
        if target.exists() {
            return Ok(());
        }
        fs::set_permissions(data, fs::Permissions::from_mode(0o444)).map_err(file("chmod", data))?;
        fs::rename(data, &target).map_err(file("rename to", &target))?;
        let folder = target.parent().expect("a blob lies in a folder");
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(file("sync", folder))
    }

    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The digests of all blobs on disk.
    pub(crate) fn all(&self) -> Result<Vec<Digest>, ContentError> {
        let folder = self.root.join("sha256");
        let mut digests = Vec::new();
        for entry in fs::read_dir(&folder).map_err(file("list", &folder))? {
            let name = entry.map_err(file("list", &folder))?.file_name();
            if let Ok(digest) = format!("sha256:{}", name.to_string_lossy()).parse() {
                digests.push(digest);
            }
        }
        Ok(digests)
    }
}

/// An open blob. Stays readable after the blob was removed.
#[derive(Debug)]
pub struct BlobReader {
    blob: File,
    size: u64,
    path: PathBuf,
}

impl BlobReader {
    /// The blob's size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file itself, at its start: for streaming through `std::io`.
    pub fn into_file(self) -> File {
        self.blob
    }

    /// Reads up to `length` bytes at `offset`; less only at the end.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, ContentError> {
        if offset > self.size {
            return Err(ContentError::ReadOffset { size: self.size });
        }
        let left = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        self.fill(offset, &mut bytes).map_err(file("read", &self.path))?;
        Ok(bytes)
    }

    fn fill(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.blob.read_exact_at(bytes, offset)
    }
}
