//! The frames on an attach socket.
//!
//! A task has one attach socket and each exec has one; any number of clients may be connected. A frame is a header of 16 bytes,
//! big-endian — kind `u8`, stream `u8`, zero `u16`, payload length `u32`, offset `u64` — and the payload.
//!
//! | kind | who | offset | payload |
//! |---|---|---|---|
//! | 1 `Open` | client, first | output wanted from here; `u64::MAX`: from now on | - |
//! | 2 `Opened` | shim, first | the offset at which output will begin | stdin offset, `u64` |
//! | 3 `Output` | shim | of its first byte | bytes of the stream named in the header |
//! | 4 `OutputTaken` | client | all output before it has been passed on | - |
//! | 5 `OutputEnded` | shim, last | the total | - |
//! | 6 `Stdin` | client | of its first byte; `u64::MAX`: append | bytes |
//! | 7 `StdinTaken` | shim | all input before it has been written to the process | - |
//! | 8 `StdinClose` | client | - | - |
//! | 9 `Resize` | client | - | rows `u16`, columns `u16` |
//!
//! Output offsets count the bytes of stdout and stderr together, in the order in which the shim read them. The shim keeps the last
//! [`KEPT_OUTPUT`] bytes, so a client that comes back opens at the offset up to which it has passed output on and misses nothing;
//! where that is older than what is kept, `Opened` says where output begins instead. A client that falls [`KEPT_OUTPUT`] behind with
//! `OutputTaken` slows the writer (Docker's back-pressure); one that closes its connection does not. Input below the offset that
//! the shim already has is dropped, so that a client may send again what was not acknowledged.
//!
//! A client keeps at most [`INPUT_WINDOW`] bytes of input unacknowledged. The shim stops reading from one that sends more, and then
//! does not see its `OutputTaken` either: with a process that does not read before it has written, both would wait for ever.

/// How much output the shim keeps for clients that come back, and how far a client may fall behind, in bytes.
pub const KEPT_OUTPUT: usize = 1 << 20;

/// How much input a client may send beyond the last `StdinTaken`, in bytes.
pub const INPUT_WINDOW: usize = 256 << 10;

/// The largest payload of a frame, in bytes.
pub const MAX_PAYLOAD: usize = 64 << 10;

const HEADER: usize = 16;

/// Which of a process's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and the terminal's output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One message on an attach socket; see the module's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Asks for output from an offset, or from now on.
    Open {
        /// `None`: from now on.
        from: Option<u64>,
    },
    /// Says where output and input begin.
    Opened {
        /// Offset of the next byte of output.
        output: u64,
        /// Offset of the next byte of input.
        stdin: u64,
    },
    /// Output of the process.
    Output {
        /// Which stream.
        stream: Stream,
        /// Offset of the first byte.
        offset: u64,
        /// At most [`MAX_PAYLOAD`] bytes.
        data: Vec<u8>,
    },
    /// Acknowledges output.
    OutputTaken {
        /// All before this offset.
        offset: u64,
    },
    /// No more output will come.
    OutputEnded {
        /// Total bytes of output.
        offset: u64,
    },
    /// Input for the process.
    Stdin {
        /// `None`: append.
        offset: Option<u64>,
        /// At most [`MAX_PAYLOAD`] bytes.
        data: Vec<u8>,
    },
    /// Acknowledges input.
    StdinTaken {
        /// All before this offset.
        offset: u64,
    },
    /// The input ends here.
    StdinClose,
    /// The client's window changed.
    Resize {
        /// Height in character cells.
        rows: u16,
        /// Width in character cells.
        columns: u16,
    },
}

/// What a peer sent that is not a frame. The connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An unknown kind or stream.
    #[error("unknown frame kind {kind} with stream {stream}")]
    Unknown {
        /// First byte.
        kind: u8,
        /// Second byte.
        stream: u8,
    },
    /// A payload that the kind does not have.
    #[error("frame kind {kind} with a payload of {length} bytes")]
    Length {
        /// First byte.
        kind: u8,
        /// Payload length in the header.
        length: usize,
    },
}

impl Frame {
    /// Appends the frame's bytes to `out`.
    ///
    /// The payload must not exceed [`MAX_PAYLOAD`]; the peer refuses a longer one.
    pub fn encode(&self, out: &mut Vec<u8>) {
        const NONE: u64 = u64::MAX;
        match self {
            Self::Open { from } => header(out, 1, 0, from.unwrap_or(NONE), &[]),
            Self::Opened { output, stdin } => header(out, 2, 0, *output, &stdin.to_be_bytes()),
            Self::Output { stream, offset, data } => Self::encode_output(out, *stream, *offset, data),
            Self::OutputTaken { offset } => header(out, 4, 0, *offset, &[]),
            Self::OutputEnded { offset } => header(out, 5, 0, *offset, &[]),
            Self::Stdin { offset, data } => header(out, 6, 0, offset.unwrap_or(NONE), data),
            Self::StdinTaken { offset } => header(out, 7, 0, *offset, &[]),
            Self::StdinClose => header(out, 8, 0, 0, &[]),
            Self::Resize { rows, columns } => {
                let [a, b] = rows.to_be_bytes();
                let [c, d] = columns.to_be_bytes();
                header(out, 9, 0, 0, &[a, b, c, d]);
            }
        }
    }

    /// Appends an [`Frame::Output`] whose payload need not be copied first.
    pub fn encode_output(out: &mut Vec<u8>, stream: Stream, offset: u64, data: &[u8]) {
        header(out, 3, stream_number(stream), offset, data);
    }

    /// The frame's bytes alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

fn stream_number(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

fn header(out: &mut Vec<u8>, kind: u8, stream: u8, offset: u64, payload: &[u8]) {
    out.reserve(HEADER + payload.len());
    out.extend([kind, stream, 0, 0]);
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(offset.to_be_bytes());
    out.extend(payload);
}

/// Cuts a byte stream into frames. Holds at most one frame's bytes beyond what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that make no whole frame yet.
    pub fn left(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The next whole frame; `None` until more bytes are pushed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.bytes[self.start..];
        let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [kind, stream, _, _, l0, l1, l2, l3, offset @ ..] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::Length { kind, length });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let frame = decode(kind, stream, u64::from_be_bytes(offset), &rest[..length])?;
        self.start += HEADER + length;
        Ok(Some(frame))
    }
}

fn decode(kind: u8, stream: u8, offset: u64, payload: &[u8]) -> Result<Frame, FrameError> {
    let wrong_length = || FrameError::Length {
        kind,
        length: payload.len(),
    };
    let optional = (offset != u64::MAX).then_some(offset);
    Ok(match (kind, stream) {
        (1, _) => Frame::Open { from: optional },
        (2, _) => {
            let stdin = payload.try_into().map_err(|_| wrong_length())?;
            Frame::Opened {
                output: offset,
                stdin: u64::from_be_bytes(stdin),
            }
        }
        (3, 1) => Frame::Output {
            stream: Stream::Stdout,
            offset,
            data: payload.into(),
        },
        (3, 2) => Frame::Output {
            stream: Stream::Stderr,
            offset,
            data: payload.into(),
        },
        (4, _) => Frame::OutputTaken { offset },
        (5, _) => Frame::OutputEnded { offset },
        (6, _) => Frame::Stdin {
            offset: optional,
            data: payload.into(),
        },
        (7, _) => Frame::StdinTaken { offset },
        (8, _) => Frame::StdinClose,
        (9, _) => {
            let [a, b, c, d] = payload.try_into().map_err(|_| wrong_length())?;
            Frame::Resize {
                rows: u16::from_be_bytes([a, b]),
                columns: u16::from_be_bytes([c, d]),
            }
        }
        _ => return Err(FrameError::Unknown { kind, stream }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Frame> {
        vec![
            Frame::Open { from: None },
            Frame::Open { from: Some(7) },
            Frame::Opened { output: 9, stdin: 3 },
            Frame::Output {
                stream: Stream::Stdout,
                offset: 0,
                data: b"hello".to_vec(),
            },
            Frame::Output {
                stream: Stream::Stderr,
                offset: 5,
                data: vec![0; MAX_PAYLOAD],
            },
            Frame::OutputTaken { offset: 5 },
            Frame::OutputEnded { offset: 5 },
            Frame::Stdin {
                offset: None,
                data: b"x".to_vec(),
            },
            Frame::Stdin {
                offset: Some(1),
                data: vec![],
            },
            Frame::StdinTaken { offset: 1 },
            Frame::StdinClose,
            Frame::Resize { rows: 24, columns: 80 },
        ]
    }

    #[test]
    fn frames_survive_a_stream_that_arrives_in_pieces_of_any_size() {
        let frames = every_kind();
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
        for size in [1, 3, 16, 17, 4096, bytes.len()] {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames, "pieces of {size}");
        }
    }

    #[test]
    fn an_unknown_kind_or_an_oversized_payload_is_refused_before_it_is_buffered() {
        let mut decoder = Decoder::default();
        decoder.push(&[200; HEADER]);
        assert!(decoder.next_frame().is_err());
        let mut decoder = Decoder::default();
        decoder.push(&[42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Err(FrameError::Unknown { kind: 42, stream: 0 }));
    }
}
