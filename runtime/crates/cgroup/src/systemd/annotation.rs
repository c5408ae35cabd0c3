//! `org.systemd.property.NAME: VALUE`: properties of the unit from the config's annotations.
//!
//! Values are in GLib's text form, as under runc: `true`, `'text'`, `uint64 5`, `['a', 'b']`, `@as []`.

use std::collections::BTreeMap;

use super::{SystemdError, dbus::Value, properties::Property};

const PREFIX: &str = "org.systemd.property.";

/// The properties that the annotations name.
pub(super) fn properties(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>, SystemdError> {
    let named = annotations
        .iter()
        .filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
    named
        .map(|(name, text)| {
            property(name, text).map_err(|problem| SystemdError::Annotation {
                key: format!("{PREFIX}{name}"),
                value: text.clone(),
                problem,
            })
        })
        .collect()
}

fn property(name: &str, text: &str) -> Result<Property, &'static str> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("the name of a property has three letters or more, and nothing but letters");
    }
    let value = parse(text)?;
    // TimeoutStopSec=5 in a unit file is TimeoutStopUSec=5000000 on the bus.
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|last: char| last.is_ascii_lowercase()) => Ok((
            format!("{stem}USec"),
            microseconds(&value).ok_or("not a number of seconds")?,
        )),
        _ => Ok((name.into(), value)),
    }
}

fn microseconds(value: &Value) -> Option<Value> {
    let seconds = match value {
        Value::Byte(number) => (*number).into(),
        Value::I16(number) => u64::try_from(*number).ok()?,
        Value::U16(number) => (*number).into(),
        Value::I32(number) => u64::try_from(*number).ok()?,
        Value::U32(number) => (*number).into(),
        Value::I64(number) => u64::try_from(*number).ok()?,
        Value::U64(number) => *number,
        Value::Double(number) if *number >= 0.0 => return Some(Value::U64((number * 1e6) as u64)),
        _ => return None,
    };
    seconds.checked_mul(1_000_000).map(Value::U64)
}

fn parse(text: &str) -> Result<Value, &'static str> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None, 0)?;
    match parser.rest.trim_start() {
        "" => Ok(value),
        _ => Err("something follows the value"),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

/// Deeper than any property; the parser calls itself once a level.
const DEPTH: usize = 8;

impl<'a> Parser<'a> {
    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, &'static str> {
        if depth > DEPTH {
            return Err("nested too deeply");
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next().ok_or("a value is missing")? {
            '\'' | '"' => text_as(self.quoted()?, wanted),
            '[' => self.array(wanted, depth),
            '<' => self.variant(depth),
            '@' => {
                self.rest = &self.rest[1..];
                let signature = self.word();
                self.value(Some(signature), depth + 1)
            }
            _ => match self.word() {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                word => match named_type(word) {
                    Some(signature) => self.value(Some(signature), depth + 1),
                    None => number(word, wanted.unwrap_or(guess(word))),
                },
            },
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || ",]>".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Whether the next character is this one; if so, it is passed.
    fn passes(&mut self, character: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(character) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut characters = self.rest.char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.push(match characters.next().ok_or("text ends in a backslash")?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'u' | 'U' => return Err("characters by number are not supported: write them as they are"),
                    other => other,
                }),
                _ if Some(character) == quote => {
                    self.rest = &self.rest[at + character.len_utf8()..];
                    return Ok(text);
                }
                _ => text.push(character),
            }
        }
        Err("text without its closing quote")
    }

    /// The first element's type is that of all.
    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Result<Value, &'static str> {
        self.passes('[');
        let mut element = match wanted {
            Some(signature) => Some(
                signature
                    .strip_prefix('a')
                    .ok_or("an array where none is wanted")?
                    .to_owned(),
            ),
            None => None,
        };
        let mut items = Vec::new();
        while !self.passes(']') {
            if !items.is_empty() && !self.passes(',') {
                return Err("elements have commas between them");
            }
            let item = self.value(element.as_deref(), depth + 1)?;
            let signature = item.signature();
            match &element {
                Some(element) if *element != signature => return Err("elements of different types"),
                _ => element = Some(signature),
            }
            items.push(item);
        }
        let element = element.ok_or("an empty array says its type: @as []")?;
        Ok(Value::Array(element, items))
    }

    fn variant(&mut self, depth: usize) -> Result<Value, &'static str> {
        self.passes('<');
        let value = self.value(None, depth + 1)?;
        match self.passes('>') {
            true => Ok(Value::variant(value)),
            false => Err("a variant without its closing bracket"),
        }
    }
}

fn text_as(text: String, wanted: Option<&str>) -> Result<Value, &'static str> {
    match wanted {
        None | Some("s") => Ok(Value::Text(text)),
        Some("o") => Ok(Value::Path(text)),
        Some("g") if text.len() < 256 => Ok(Value::Signature(text)),
        _ => Err("text where none is wanted"),
    }
}

fn named_type(word: &str) -> Option<&'static str> {
    Some(match word {
        "boolean" => "b",
        "byte" => "y",
        "int16" => "n",
        "uint16" => "q",
        "int32" => "i",
        "uint32" => "u",
        "int64" => "x",
        "uint64" => "t",
        "double" => "d",
        "string" => "s",
        "objectpath" => "o",
        "signature" => "g",
        _ => return None,
    })
}

fn guess(word: &str) -> &'static str {
    let is_hexadecimal = word.trim_start_matches(['-', '+']).starts_with("0x");
    if !is_hexadecimal && word.contains(['.', 'e', 'E']) {
        "d"
    } else {
        "i"
    }
}

fn number(word: &str, signature: &str) -> Result<Value, &'static str> {
    let whole = || integer(word).ok_or("not a value: text stands in quotes");
    let range = "a number beyond its type";
    Ok(match signature {
        "y" => Value::Byte(whole()?.try_into().map_err(|_| range)?),
        "n" => Value::I16(whole()?.try_into().map_err(|_| range)?),
        "q" => Value::U16(whole()?.try_into().map_err(|_| range)?),
        "i" => Value::I32(whole()?.try_into().map_err(|_| range)?),
        "u" => Value::U32(whole()?.try_into().map_err(|_| range)?),
        "x" => Value::I64(whole()?.try_into().map_err(|_| range)?),
        "t" => Value::U64(whole()?.try_into().map_err(|_| range)?),
        "d" => Value::Double(word.parse().map_err(|_| "not a number")?),
        _ => return Err("a number where none is wanted"),
    })
}

/// Decimal, `0x` hexadecimal, or `0` octal.
fn integer(word: &str) -> Option<i128> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok().map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_glibs_text_form() {
        let text = Value::text;
        for (written, value) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            ("-0x10", Value::I32(-16)),
            ("1.5", Value::Double(1.5)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("byte 7", Value::Byte(7)),
            ("'it\\'s'", text("it's")),
            ("\"a b\"", text("a b")),
            ("objectpath '/x'", Value::Path("/x".into())),
            ("['a', 'b']", Value::Array("s".into(), vec![text("a"), text("b")])),
            (
                "[uint32 1, 2]",
                Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]),
            ),
            ("@as []", Value::Array("s".into(), vec![])),
            ("<'x'>", Value::variant(text("x"))),
        ] {
            assert_eq!(parse(written).as_ref(), Ok(&value), "{written}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for written in [
            "",
            "bare",
            "'open",
            "[1, 'a']",
            "[]",
            "[1 2]",
            "[1",
            "1 2",
            "byte 256",
            "{'a': 1}",
            "(1,)",
            "<1",
            "@as 5",
            "'x\\",
            "ü",
            "@",
            "--1",
            "@ai ['x']",
        ] {
            assert!(parse(written).is_err(), "{written}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn seconds_become_microseconds() {
        let value = |name, text| property(name, text).unwrap();
        assert_eq!(
            value("TimeoutStopSec", "uint64 2"),
            ("TimeoutStopUSec".into(), Value::U64(2_000_000))
        );
        assert_eq!(
            value("RuntimeMaxSec", "1.5"),
            ("RuntimeMaxUSec".into(), Value::U64(1_500_000))
        );
        assert_eq!(value("CollectMode", "'inactive'").0, "CollectMode");
        assert!(property("TimeoutStopSec", "'x'").is_err());
        assert!(property("x", "1").is_err() && property("a.b", "1").is_err());
    }
}
