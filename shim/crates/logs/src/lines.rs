//! Cuts a stream of bytes into the pieces that become log records.

use jiff::Timestamp;

/// The longest piece in bytes, its newline included. A longer line becomes several records, of which only the last has the newline.
pub const LONGEST_PIECE: usize = 16 << 10;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
    /// When the unfinished line began; all its pieces carry this time.
    began: Option<Timestamp>,
}

impl Lines {
    /// Calls `emit` for each piece that `bytes` completes. A piece holds its newline, if it has one.
    pub fn push(&mut self, mut bytes: &[u8], now: Timestamp, mut emit: impl FnMut(&[u8], Timestamp)) {
        while !bytes.is_empty() {
            let room = LONGEST_PIECE - self.pending.len();
            let newline = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (length, ends_line) = match newline {
                Some(at) => (at + 1, true),
                None => (bytes.len().min(room), false),
            };
            let (piece, rest) = bytes.split_at(length);
            bytes = rest;
            let time = *self.began.get_or_insert(now);
            let is_full = self.pending.len() + piece.len() >= LONGEST_PIECE;
            if !ends_line && !is_full {
                self.pending.extend_from_slice(piece);
                return;
            }
            self.emit(piece, time, &mut emit);
            if ends_line {
                self.began = None;
            }
        }
    }

    /// Calls `emit` for what is left of a stream that has ended.
    pub fn finish(&mut self, now: Timestamp, mut emit: impl FnMut(&[u8], Timestamp)) {
        let time = self.began.take().unwrap_or(now);
        if !self.pending.is_empty() {
            self.emit(&[], time, &mut emit);
        }
    }

    fn emit(&mut self, piece: &[u8], time: Timestamp, emit: &mut impl FnMut(&[u8], Timestamp)) {
        if self.pending.is_empty() {
            return emit(piece, time);
        }
        // Taken, not cleared: an idle stream holds no memory.
        let mut whole = std::mem::take(&mut self.pending);
        whole.extend_from_slice(piece);
        emit(&whole, time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        let now = Timestamp::UNIX_EPOCH;
        for chunk in chunks {
            lines.push(chunk, now, |piece, _| seen.push(piece.to_vec()));
        }
        lines.finish(now, |piece, _| seen.push(piece.to_vec()));
        seen
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
    fn all_pieces_of_a_line_carry_the_time_at_which_it_began() {
        let mut lines = Lines::default();
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(9).unwrap());
        let mut times = Vec::new();
        lines.push(&vec![b'x'; LONGEST_PIECE + 1], first, |_, time| times.push(time));
        lines.push(b"y\nz\n", later, |_, time| times.push(time));
        assert_eq!(times, [first, first, later]);
    }
}
