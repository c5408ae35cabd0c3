//! Going through a tar without letting it choose how much memory that takes.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use tar::{Archive, Entry};

/// The most bytes of headers before one entry: long names and extended attributes, which are read into memory.
const HEADER_LIMIT: u64 = 4 << 20;

/// A stream whose next bytes are counted while they are headers.
pub struct Guarded<R> {
    stream: R,
    /// Header bytes that may still come; `None` while an entry's data is read.
    left: Rc<Cell<Option<u64>>>,
}

/// Calls `visit` with every entry of a tar. Errors of reading are wrapped by `unreadable`.
pub fn for_each_entry<R: Read, E>(
    stream: R,
    unreadable: impl Fn(io::Error) -> E,
    mut visit: impl FnMut(&mut Entry<'_, Guarded<R>>) -> Result<(), E>,
) -> Result<(), E> {
    let left = Rc::new(Cell::new(Some(HEADER_LIMIT)));
    let mut archive = Archive::new(Guarded {
        stream,
        left: left.clone(),
    });
    for entry in archive.entries().map_err(&unreadable)? {
        let mut entry = entry.map_err(&unreadable)?;
        left.set(None);
        visit(&mut entry)?;
        // What is not read here would be skipped among the next headers.
        io::copy(&mut entry, &mut io::sink()).map_err(&unreadable)?;
        left.set(Some(HEADER_LIMIT));
    }
    Ok(())
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(left) = self.left.get() {
            let left = left.checked_sub(count as u64).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "headers of one entry are larger than 4 MiB")
            })?;
            self.left.set(Some(left));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn long_name(length: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(length);
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, io::repeat(b'n').take(length)).unwrap();
        let mut header = Header::new_gnu();
        header.set_path("short").unwrap();
        header.set_size(3);
        header.set_cksum();
        builder.append(&header, &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    fn names(archive: &[u8]) -> io::Result<Vec<usize>> {
        let mut lengths = Vec::new();
        for_each_entry(
            archive,
            |error| error,
            |entry| {
                lengths.push(entry.path_bytes().len());
                Ok(())
            },
        )?;
        Ok(lengths)
    }

    #[test]
    fn a_name_of_many_megabytes_is_refused_before_it_is_read() {
        assert_eq!(names(&long_name(5000)).unwrap(), [5000]);
        let refused = names(&long_name(HEADER_LIMIT + 1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
