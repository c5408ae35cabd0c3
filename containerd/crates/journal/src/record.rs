//! What segments are made of, as bytes. Pure functions.

use crate::{Entry, Epoch};

/// The layout that this program writes and reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: &[u8; 12] = b"davit-events";

/// Bytes of a segment's header.
pub(crate) const HEADER: usize = MAGIC.len() + 4 + 16 + 4;

/// Bytes of a record before those of its entry.
pub(crate) const HEAD: usize = 4 + 4 + 16 + 4;

/// What stands at the beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A segment of this epoch.
    Ours(Epoch),
    /// A segment of another version.
    Foreign(u32),
    /// The beginning of a header, and the end of the file.
    Cut,
    /// None.
    Damaged,
}

/// What stands at the beginning of bytes that are to be records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// An entry; the next record begins after `length` bytes.
    Whole {
        identity: u128,
        bytes: &'a [u8],
        length: usize,
    },
    /// The beginning of one, and the end of the file.
    Cut,
    /// None.
    Damaged,
}

pub(crate) fn header(epoch: Epoch) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(epoch.0.to_le_bytes());
    bytes.extend(sum(&bytes).to_le_bytes());
    bytes
}

pub(crate) fn parse_header(bytes: &[u8]) -> Header {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Header::Cut;
    };
    let mut rest = Fields(header);
    if rest.take::<12>() != *MAGIC {
        return Header::Damaged;
    }
    // A version to come may have another header after its number.
    match u32::from_le_bytes(rest.take()) {
        VERSION => {}
        version => return Header::Foreign(version),
    }
    let epoch = Epoch(u128::from_le_bytes(rest.take()));
    match rest.sum_up(header) {
        true => Header::Ours(epoch),
        false => Header::Damaged,
    }
}

/// Appends the record of an entry to `buffer`.
pub(crate) fn write(buffer: &mut Vec<u8>, entry: &Entry) {
    let start = buffer.len();
    // No message is longer than 16 MiB.
    buffer.extend((entry.bytes.len() as u32).to_le_bytes());
    buffer.extend(sum(&entry.bytes).to_le_bytes());
    buffer.extend(entry.identity.to_le_bytes());
    buffer.extend(sum(&buffer[start..]).to_le_bytes());
    buffer.extend(&entry.bytes);
}

pub(crate) fn parse(bytes: &[u8]) -> Record<'_> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Record::Cut;
    };
    let mut fields = Fields(head);
    let length = u32::from_le_bytes(fields.take()) as usize;
    let expected = u32::from_le_bytes(fields.take());
    let identity = u128::from_le_bytes(fields.take());
    if !fields.sum_up(head) {
        return Record::Damaged;
    }
    let Some(bytes) = rest.get(..length) else {
        return Record::Cut;
    };
    if sum(bytes) != expected {
        return Record::Damaged;
    }
    Record::Whole {
        identity,
        bytes,
        length: HEAD + length,
    }
}

/// Reads one field after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const LENGTH: usize>(&mut self) -> [u8; LENGTH] {
        let (field, rest) = self.0.split_first_chunk().expect("a head holds its fields");
        self.0 = rest;
        *field
    }

    /// Whether what is left is the sum of all that stands before it in `whole`.
    fn sum_up(mut self, whole: &[u8]) -> bool {
        u32::from_le_bytes(self.take()) == sum(&whole[..whole.len() - 4])
    }
}

/// CRC-32 as in ISO 3309 and zip.
fn sum(bytes: &[u8]) -> u32 {
    !bytes
        .iter()
        .fold(!0, |sum: u32, byte| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ *byte)])
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 * (sum & 1));
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(identity: u128, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let bytes = bytes.to_vec();
        write(&mut buffer, &Entry { identity, bytes });
        buffer
    }

    #[test]
    fn the_sum_is_that_of_the_standard() {
        assert_eq!(sum(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_header_names_its_epoch_and_one_of_another_version_is_known() {
        let good = header(Epoch(7));
        assert_eq!(parse_header(&good), Header::Ours(Epoch(7)));
        assert_eq!(parse_header(&good[..HEADER - 1]), Header::Cut);
        let mut newer = good.clone();
        newer[MAGIC.len()] = 2;
        assert_eq!(parse_header(&newer), Header::Foreign(2));
        let mut damaged = good;
        damaged[20] ^= 1;
        assert_eq!(parse_header(&damaged), Header::Damaged);
        assert_eq!(parse_header(&[0; 100]), Header::Damaged);
    }

    proptest! {
        #[test]
        fn a_record_that_is_cut_is_known_and_one_with_another_byte_is_damaged(
            identity: u128,
            bytes in proptest::collection::vec(any::<u8>(), 0..50),
            place: prop::sample::Index,
            change in 1..=255u8,
        ) {
            let good = written(identity, &bytes);
            let whole = Record::Whole { identity, bytes: &bytes, length: good.len() };
            prop_assert_eq!(parse(&good), whole);
            let place = place.index(good.len());
            prop_assert_eq!(parse(&good[..place]), Record::Cut);
            let mut damaged = good.clone();
            damaged[place] ^= change;
            prop_assert_eq!(parse(&damaged), Record::Damaged);
        }

        #[test]
        fn no_bytes_are_a_reason_to_panic(bytes: Vec<u8>) {
            parse(&bytes);
            parse_header(&bytes);
        }
    }
}
