//! Cuts a stream of bytes into the pieces that become log records.

use davit_luggage::Bytes;
use jiff::Timestamp;

use crate::{
    record::{Partial, RandomId, Record, Source},
    state::{LineState, id_of},
};

/// The longest piece in bytes, its newline included. A longer line becomes several records.
pub const LONGEST_PIECE: usize = 16 << 10;

/// The unfinished lines of both streams.
#[derive(Debug)]
pub(crate) struct Lines {
    stdout: Line,
    stderr: Line,
}

/// The unfinished line of one stream.
#[derive(Debug)]
struct Line {
    source: Source,
    pending: Vec<u8>,
    /// When the line began; all its pieces carry this time.
    began: Option<Timestamp>,
    /// Id of a line that is cut, and how many pieces it has had.
    cut: Option<(RandomId, u32)>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            stdout: Line::new(Source::Stdout),
            stderr: Line::new(Source::Stderr),
        }
    }
}

impl Lines {
    /// Calls `emit` for each piece that `bytes` completes.
    pub fn push(&mut self, source: Source, bytes: &[u8], now: Timestamp, emit: impl FnMut(Record<'_>)) {
        self.line(source).push(bytes, now, emit);
    }

    /// Calls `emit` for what is left of a stream that has ended.
    pub fn finish(&mut self, source: Source, now: Timestamp, emit: impl FnMut(Record<'_>)) {
        self.line(source).finish(now, emit);
    }

    /// The unfinished lines, for a log that goes on elsewhere.
    pub fn state(&self) -> [LineState; 2] {
        [&self.stdout, &self.stderr].map(Line::state)
    }

    /// Goes on with unfinished lines.
    pub fn from_state([stdout, stderr]: [LineState; 2]) -> Self {
        Self {
            stdout: Line::from_state(Source::Stdout, stdout),
            stderr: Line::from_state(Source::Stderr, stderr),
        }
    }

    fn line(&mut self, source: Source) -> &mut Line {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }
}

impl Line {
    const fn new(source: Source) -> Self {
        Self {
            source,
            pending: Vec::new(),
            began: None,
            cut: None,
        }
    }

    fn state(&self) -> LineState {
        LineState {
            pending: Bytes(self.pending.clone()),
            began: self.began,
            cut: self.cut.map(|(id, ordinal)| (Bytes(id.bytes().into()), ordinal)),
        }
    }

    fn from_state(source: Source, state: LineState) -> Self {
        Self {
            source,
            pending: state.pending.0,
            began: state.began,
            cut: state.cut.map(|(id, ordinal)| (id_of(&id), ordinal)),
        }
    }

    fn push(&mut self, mut bytes: &[u8], now: Timestamp, mut emit: impl FnMut(Record<'_>)) {
        while !bytes.is_empty() {
            let room = LONGEST_PIECE - self.pending.len();
            let newline = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let length = newline.unwrap_or(bytes.len().min(room));
            let piece = &bytes[..length];
            bytes = &bytes[length + usize::from(newline.is_some())..];
            let began = *self.began.get_or_insert(now);
            let is_full = self.pending.len() + piece.len() >= LONGEST_PIECE;
            if newline.is_none() && !is_full {
                self.pending.extend_from_slice(piece);
                return;
            }
            self.emit(piece, began, newline.is_some(), &mut emit);
        }
    }

    fn finish(&mut self, now: Timestamp, mut emit: impl FnMut(Record<'_>)) {
        let began = self.began.take().unwrap_or(now);
        if !self.pending.is_empty() {
            self.emit(&[], began, false, &mut emit);
        }
    }

    fn emit(&mut self, piece: &[u8], time: Timestamp, ends_line: bool, emit: &mut impl FnMut(Record<'_>)) {
        // Taken, not cleared: an idle stream holds no memory.
        let mut whole = std::mem::take(&mut self.pending);
        let line = if whole.is_empty() {
            piece.into()
        } else {
            whole.extend_from_slice(piece);
            whole.into()
        };
        let partial = self.place(ends_line);
        emit(Record {
            source: self.source,
            time,
            line,
            partial,
        });
    }

    fn place(&mut self, ends_line: bool) -> Option<Partial> {
        if ends_line {
            self.began = None;
        }
        let (id, before) = match self.cut.take() {
            None if ends_line => return None,
            cut => cut.unwrap_or_else(|| (RandomId::new(), 0)),
        };
        let ordinal = before.saturating_add(1);
        if !ends_line {
            self.cut = Some((id, ordinal));
        }
        Some(Partial {
            id,
            ordinal,
            last: ends_line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(chunks: &[&[u8]]) -> Vec<Record<'static>> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        let now = Timestamp::UNIX_EPOCH;
        for chunk in chunks {
            lines.push(Source::Stdout, chunk, now, |record| seen.push(record.into_owned()));
        }
        lines.finish(Source::Stdout, now, |record| seen.push(record.into_owned()));
        seen
    }

    /// Lines with the newlines that stood behind them.
    fn pieces(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let end = |record: &Record<'_>| if record.ends_line() { &b"\n"[..] } else { b"" };
        let records = records(chunks);
        records
            .iter()
            .map(|record| [&record.line, end(record)].concat())
            .collect()
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        let expected = vec![b"a\n".to_vec(), b"\n".to_vec(), b"bc\n".to_vec(), b"tail".to_vec()];
        assert_eq!(pieces(&[b"a\n\nbc\ntail"]), expected);
        assert_eq!(pieces(&[b"a", b"\n\nb", b"c\nta", b"il"]), expected);
    }

    #[test]
    fn a_long_line_is_cut_and_only_its_last_piece_has_the_newline() {
        let full = vec![b'x'; LONGEST_PIECE];
        let mut line = full.repeat(2);
        line.extend(b"end\n");
        let expected = vec![full.clone(), full.clone(), b"end\n".to_vec()];
        assert_eq!(pieces(&[&line]), expected);
        let chunks: Vec<&[u8]> = line.chunks(1000).collect();
        assert_eq!(pieces(&chunks), expected);
    }

    #[test]
    fn the_newline_counts_to_the_length_of_a_piece() {
        let line = |length: usize| [vec![b'x'; length], b"\n".to_vec()].concat();
        assert_eq!(pieces(&[&line(LONGEST_PIECE - 1)]), vec![line(LONGEST_PIECE - 1)]);
        let cut = vec![line(LONGEST_PIECE)[..LONGEST_PIECE].to_vec(), b"\n".to_vec()];
        assert_eq!(pieces(&[&line(LONGEST_PIECE)]), cut);
    }

    #[test]
    fn the_pieces_of_a_line_share_an_id_and_are_counted_and_other_lines_have_none() {
        let long = [vec![b'x'; LONGEST_PIECE * 2], b"y\nshort\n".to_vec()].concat();
        let records = records(&[&long, &long, b"tail"]);
        let place = |record: &Record<'_>| record.partial.map(|partial| (partial.ordinal, partial.last));
        let places: Vec<_> = records.iter().map(place).collect();
        let one = [Some((1, false)), Some((2, false)), Some((3, true)), None];
        // What the end of the stream cuts off is a piece, too.
        assert_eq!(places, [&one[..], &one, &[Some((1, false))]].concat());
        let id = |at: usize| records[at].partial.map(|partial| partial.id);
        assert_eq!((id(0), id(1)), (id(1), id(2)));
        assert_ne!(id(0), id(4));
    }

    #[test]
    fn all_pieces_of_a_line_carry_the_time_at_which_it_began() {
        let mut lines = Lines::default();
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        let mut times = Vec::new();
        lines.push(Source::Stdout, &vec![b'x'; LONGEST_PIECE + 1], first, |record| {
            times.push(record.time)
        });
        lines.push(Source::Stdout, b"y\nz\n", later, |record| times.push(record.time));
        assert_eq!(times, [first, first, later]);
    }
}
