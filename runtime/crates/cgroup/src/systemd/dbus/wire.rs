//! Values as bytes: each aligned to its own size, counted from the beginning of the message.

use super::value::Value;

/// Writes values in this machine's byte order.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, boundary: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(boundary), 0);
    }

    fn aligned<const N: usize>(&mut self, number: [u8; N]) {
        self.align(N);
        self.bytes.extend(number);
    }

    pub(super) fn number(&mut self, number: u32) {
        self.aligned(number.to_ne_bytes());
    }

    pub(super) fn put(&mut self, value: &Value) {
        match value {
            Value::Byte(byte) => self.bytes.push(*byte),
            Value::Bool(flag) => self.number((*flag).into()),
            Value::I16(number) => self.aligned(number.to_ne_bytes()),
            Value::U16(number) => self.aligned(number.to_ne_bytes()),
            Value::I32(number) => self.aligned(number.to_ne_bytes()),
            Value::U32(number) => self.number(*number),
            Value::I64(number) => self.aligned(number.to_ne_bytes()),
            Value::U64(number) => self.aligned(number.to_ne_bytes()),
            Value::Double(number) => self.aligned(number.to_ne_bytes()),
            Value::Text(text) | Value::Path(text) => {
                self.number(text.len() as u32);
                self.bytes.extend(text.as_bytes());
                self.bytes.push(0);
            }
            Value::Signature(text) => self.signature(text),
            Value::Array(element, items) => self.array(element, items),
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.put(field));
            }
            Value::Variant(value) => {
                self.signature(&value.signature());
                self.put(value);
            }
        }
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// The length counts neither itself nor the padding before the first element.
    fn array(&mut self, element: &str, items: &[Value]) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment(element));
        let start = self.bytes.len();
        items.iter().for_each(|item| self.put(item));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

fn alignment(signature: &str) -> usize {
    match signature.bytes().next() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// Reads what somebody else has written; `None` where the bytes are not what they should be.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    swapped: bool,
}

impl<'a> Reader<'a> {
    /// `swapped`: written by a machine of the other byte order.
    pub(super) fn new(bytes: &'a [u8], swapped: bool) -> Self {
        Reader { bytes, at: 0, swapped }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    pub(super) fn align(&mut self, boundary: usize) -> Option<()> {
        let padding = self.at.next_multiple_of(boundary) - self.at;
        self.take(padding).map(drop)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.align(4)?;
        let number = u32::from_ne_bytes(self.take(4)?.try_into().ok()?);
        Some(if self.swapped { number.swap_bytes() } else { number })
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.characters(length)
    }

    pub(super) fn signature(&mut self) -> Option<String> {
        let length = self.byte()?;
        self.characters(length.into())
    }

    fn characters(&mut self, length: usize) -> Option<String> {
        let text = self.take(length)?;
        (self.byte()? == 0).then_some(())?;
        String::from_utf8(text.to_vec()).ok()
    }

    /// A variant that holds text.
    pub(super) fn variant_of_text(&mut self) -> Option<String> {
        match self.signature()?.as_str() {
            "s" | "o" => self.text(),
            _ => None,
        }
    }

    /// A variant that holds a number or bytes.
    pub(super) fn variant_of_limit(&mut self) -> Option<Value> {
        match self.signature()?.as_str() {
            "t" => self.long().map(Value::U64),
            "ay" => {
                let length = self.number()? as usize;
                self.take(length).map(Value::bytes)
            }
            _ => None,
        }
    }

    fn long(&mut self) -> Option<u64> {
        self.align(8)?;
        let number = u64::from_ne_bytes(self.take(8)?.try_into().ok()?);
        Some(if self.swapped { number.swap_bytes() } else { number })
    }

    /// Passes over a value of a basic type.
    pub(super) fn skip(&mut self, signature: &str) -> Option<()> {
        match signature {
            "s" | "o" => self.text().map(drop),
            "g" => self.signature().map(drop),
            "y" => self.byte().map(drop),
            "b" | "i" | "u" | "h" => self.number().map(drop),
            "n" | "q" => self.align(2).and_then(|()| self.take(2)).map(drop),
            "x" | "t" | "d" => self.align(8).and_then(|()| self.take(8)).map(drop),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: &[Value]) -> Vec<u8> {
        let mut writer = Writer::default();
        values.iter().for_each(|value| writer.put(value));
        writer.bytes
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn values_are_padded_to_their_size() {
        assert_eq!(
            written(&[Value::Byte(7), Value::U32(1)]),
            [7, 0, 0, 0, 1, 0, 0, 0],
            "a number after a byte"
        );
        assert_eq!(written(&[Value::text("ab")]), [2, 0, 0, 0, b'a', b'b', 0]);
        assert_eq!(
            written(&[Value::variant(Value::Bool(true))]),
            [1, b'b', 0, 0, 1, 0, 0, 0]
        );
        // The length of an array leaves out the padding before its first element.
        assert_eq!(
            written(&[Value::Array("t".into(), vec![Value::U64(1)])]),
            [8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(written(&[Value::Array("(sv)".into(), vec![])]), [0; 8]);
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = written(&[
            Value::Byte(1),
            Value::text("unit"),
            Value::variant(Value::text("252")),
            Value::I64(-1),
            Value::U32(9),
        ]);
        let mut reader = Reader::new(&bytes, false);
        assert_eq!(reader.byte(), Some(1));
        assert_eq!(reader.text().as_deref(), Some("unit"));
        assert_eq!(reader.variant_of_text().as_deref(), Some("252"));
        assert_eq!(reader.skip("x"), Some(()));
        assert_eq!(reader.number(), Some(9));
        assert_eq!(reader.byte(), None);
    }

    #[test]
    fn lengths_that_lead_beyond_the_end_are_no_text() {
        for bytes in [&[255, 255, 255, 255, b'x'][..], &[2, 0, 0, 0, b'x', 0], &[]] {
            assert_eq!(Reader::new(bytes, false).text(), None);
        }
        assert_eq!(Reader::new(&[0, 0, 0, 5], true).number(), Some(5));
    }

    #[test]
    fn a_limit_is_a_number_or_bytes() {
        for limit in [
            Value::U64(u64::MAX),
            Value::U64(0),
            Value::bytes(&[1, 2, 3]),
            Value::bytes(&[]),
        ] {
            let bytes = written(&[Value::variant(limit.clone())]);
            assert_eq!(Reader::new(&bytes, false).variant_of_limit(), Some(limit));
        }
        let other = written(&[Value::variant(Value::text("x"))]);
        assert_eq!(Reader::new(&other, false).variant_of_limit(), None);
        let cut = written(&[Value::variant(Value::bytes(&[1, 2, 3]))]);
        assert_eq!(Reader::new(&cut[..cut.len() - 1], false).variant_of_limit(), None);
    }
}
