//! Docker's framing of two streams in one: `[stream][0 0 0][length, big-endian u32]` and the bytes.

/// Number of standard output.
pub const STDOUT: u8 = 1;
/// Number of standard error.
pub const STDERR: u8 = 2;

/// The head of a frame with a payload of this length.
pub fn header(stream: u8, length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [stream, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_stream_and_length() {
        assert_eq!(header(STDERR, 0x0102), [2, 0, 0, 0, 0, 0, 1, 2]);
    }
}
