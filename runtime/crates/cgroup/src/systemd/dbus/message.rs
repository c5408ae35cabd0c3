//! Messages: a fixed head, fields, and a body.

use super::{value::Value, wire::Reader, wire::Writer};

pub(super) const METHOD_RETURN: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;

const METHOD_CALL: u8 = 1;
const PROTOCOL: u8 = 1;
/// Byte order, kind, flags, protocol version; lengths of body and fields; serial.
pub(super) const HEAD: usize = 16;
/// Far more than systemd says to us; the specification would allow 128 MiB.
const LIMIT: usize = 1 << 20;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method to be called.
pub(in crate::systemd) struct Call<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub arguments: Vec<Value>,
}

impl Call<'_> {
    pub(super) fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Writer::default();
        self.arguments.iter().for_each(|argument| body.put(argument));
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::variant(value)]);
        let mut fields = vec![
            field(PATH, Value::Path(self.path.into())),
            field(INTERFACE, Value::text(self.interface)),
            field(MEMBER, Value::text(self.member)),
            field(DESTINATION, Value::text(self.destination)),
        ];
        if !self.arguments.is_empty() {
            let signature = self.arguments.iter().map(Value::signature).collect();
            fields.push(field(SIGNATURE, Value::Signature(signature)));
        }
        let order = if cfg!(target_endian = "little") { b'l' } else { b'B' };
        let mut message = Writer {
            bytes: vec![order, METHOD_CALL, 0, PROTOCOL],
        };
        message.number(body.bytes.len() as u32);
        message.number(serial);
        message.put(&Value::Array("(yv)".into(), fields));
        message.align(8);
        message.bytes.extend(body.bytes);
        message.bytes
    }
}

/// A message that has come in.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub kind: u8,
    pub reply_to: Option<u32>,
    pub interface: String,
    pub member: String,
    pub error: String,
    body: Vec<u8>,
    swapped: bool,
}

impl Message {
    /// How long the message is that begins with these bytes; `None` for what no message begins with.
    pub(super) fn length(head: &[u8]) -> Option<usize> {
        let swapped = is_swapped(head[0])?;
        let mut reader = Reader::new(&head[4..], swapped);
        let body = reader.number()? as usize;
        reader.number()?;
        let fields = reader.number()? as usize;
        let length = HEAD
            .checked_add(fields)?
            .checked_next_multiple_of(8)?
            .checked_add(body)?;
        (head[3] == PROTOCOL && length <= LIMIT).then_some(length)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let swapped = is_swapped(*bytes.first()?)?;
        let mut message = Message {
            kind: *bytes.get(1)?,
            swapped,
            ..Message::default()
        };
        let mut reader = Reader::new(bytes, swapped);
        reader.skip("t")?;
        reader.skip("u")?;
        let end = HEAD.checked_add(reader.number()? as usize)?;
        while reader.position() < end {
            reader.align(8)?;
            message.field(&mut reader)?;
        }
        reader.align(8)?;
        message.body = bytes.get(reader.position()..)?.to_vec();
        Some(message)
    }

    fn field(&mut self, reader: &mut Reader) -> Option<()> {
        let code = reader.byte()?;
        let signature = reader.signature()?;
        match (code, signature.as_str()) {
            (INTERFACE, "s") => self.interface = reader.text()?,
            (MEMBER, "s") => self.member = reader.text()?,
            (ERROR_NAME, "s") => self.error = reader.text()?,
            (REPLY_SERIAL, "u") => self.reply_to = Some(reader.number()?),
            (_, other) => reader.skip(other)?,
        }
        Some(())
    }

    pub(super) fn body(&self) -> Reader<'_> {
        Reader::new(&self.body, self.swapped)
    }
}

fn is_swapped(order: u8) -> Option<bool> {
    match order {
        b'l' => Some(cfg!(target_endian = "big")),
        b'B' => Some(cfg!(target_endian = "little")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Vec<u8> {
        Call {
            destination: "org.example",
            path: "/org/example",
            interface: "org.example.Thing",
            member: "Do",
            arguments: vec![Value::text("x"), Value::U32(3)],
        }
        .encode(7)
    }

    #[test]
    fn a_call_is_read_back() {
        let bytes = call();
        assert_eq!(Message::length(&bytes[..HEAD]), Some(bytes.len()));
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(
            (message.kind, message.interface.as_str(), message.member.as_str()),
            (METHOD_CALL, "org.example.Thing", "Do")
        );
        let mut body = message.body();
        assert_eq!((body.text().as_deref(), body.number()), (Some("x"), Some(3)));
    }

    #[test]
    fn no_cut_or_twisted_message_panics() {
        let bytes = call();
        for length in 0..bytes.len() {
            let _ = Message::decode(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 127, 128, 255] {
                let mut twisted = bytes.clone();
                twisted[at] = value;
                let _ = Message::length(&twisted[..HEAD]);
                let _ = Message::decode(&twisted).map(|message| message.body().text());
            }
        }
        assert_eq!(Message::length(b"HTTP/1.1 200 OK\r"), None);
    }
}
