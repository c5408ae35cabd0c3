//! Go's string literals with a choice of quotes.

/// Reads a literal that begins with `quote`: its text, and the bytes it takes with both quotes.
pub(super) fn unquote(text: &str, quote: char) -> Result<(String, usize), &'static str> {
    let mut bytes = Vec::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let text = String::from_utf8(bytes).map_err(|_| "quoted literal is not UTF-8")?;
                return Ok((text, at + quote.len_utf8()));
            }
            '\n' => break,
            '\\' => escape(&mut chars, quote, &mut bytes)?,
            c => push(&mut bytes, c),
        }
    }
    Err("quoted literal not terminated")
}

fn escape(
    chars: &mut impl Iterator<Item = (usize, char)>,
    quote: char,
    bytes: &mut Vec<u8>,
) -> Result<(), &'static str> {
    const ILLEGAL: &str = "illegal escape sequence";
    let (_, c) = chars.next().ok_or(ILLEGAL)?;
    match c {
        'a' => bytes.push(7),
        'b' => bytes.push(8),
        't' => bytes.push(9),
        'n' => bytes.push(10),
        'v' => bytes.push(11),
        'f' => bytes.push(12),
        'r' => bytes.push(13),
        '\\' => bytes.push(b'\\'),
        'x' => bytes.push(u8::try_from(number(chars, 16, 2, 0)?).map_err(|_| ILLEGAL)?),
        'u' => push(bytes, char::from_u32(number(chars, 16, 4, 0)?).ok_or(ILLEGAL)?),
        'U' => push(bytes, char::from_u32(number(chars, 16, 8, 0)?).ok_or(ILLEGAL)?),
        '0'..='7' => {
            let first = c.to_digit(8).ok_or(ILLEGAL)?;
            bytes.push(u8::try_from(number(chars, 8, 2, first)?).map_err(|_| ILLEGAL)?);
        }
        c if c == quote => push(bytes, c),
        _ => return Err(ILLEGAL),
    }
    Ok(())
}

fn number(
    chars: &mut impl Iterator<Item = (usize, char)>,
    base: u32,
    digits: usize,
    first: u32,
) -> Result<u32, &'static str> {
    (0..digits).try_fold(first, |value, _| {
        let digit = chars
            .next()
            .and_then(|(_, c)| c.to_digit(base))
            .ok_or("illegal numeric escape sequence")?;
        Ok(value.wrapping_mul(base) | digit)
    })
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
