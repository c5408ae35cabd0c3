//! Text to pieces: literal text, and the tokens between `{{` and `}}`.

use super::TemplateError;

/// A stretch of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// Copied as it is.
    Text(String),
    /// What stood between the braces.
    Action(Vec<Token>),
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A keyword or function.
    Word(String),
    /// `.` alone.
    Dot,
    /// `.Name`; `glued` when no space parts it from what came before, as in `$x.Name`.
    Field { name: String, glued: bool },
    /// `$` or `$name`, without the `$`.
    Variable(String),
    /// A quoted string or a character.
    Text(String),
    /// An integer.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `|`
    Pipe,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// Splits a template into its pieces, with `{{-` and `-}}` already applied to the text around them.
pub fn lex(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trim_start = false;
    loop {
        let (mut text, after) = match rest.split_once("{{") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        if trim_start {
            text = text.trim_start();
        }
        let Some(after) = after else {
            push_text(&mut pieces, text);
            return Ok(pieces);
        };
        let (body, trim_end) = match after.strip_prefix('-') {
            Some(body) if body.starts_with(char::is_whitespace) => (body, true),
            _ => (after, false),
        };
        push_text(&mut pieces, if trim_end { text.trim_end() } else { text });
        let end = action_end(body)?;
        let action = &body[..end];
        let (action, trims) = match action.strip_suffix('-') {
            Some(action) if action.ends_with(char::is_whitespace) => (action, true),
            _ => (action, false),
        };
        trim_start = trims;
        rest = &body[end + 2..];
        if !is_comment(action)? {
            pieces.push(Piece::Action(tokens(action)?));
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where the `}}` of an action stands; braces inside strings do not count.
fn action_end(body: &str) -> Result<usize, TemplateError> {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            quote @ (b'"' | b'`' | b'\'') => at = string_end(bytes, at, quote)?,
            _ => {}
        }
        at += 1;
    }
    Err(TemplateError::new("unclosed action: \"{{\" without \"}}\""))
}

/// The index of the quote that closes the one at `start`.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> Result<usize, TemplateError> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote != b'`' => at += 1,
            byte if byte == quote => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    Err(TemplateError::new("unterminated quoted string"))
}

fn is_comment(action: &str) -> Result<bool, TemplateError> {
    let action = action.trim();
    if !action.starts_with("/*") {
        return Ok(false);
    }
    if action.ends_with("*/") {
        return Ok(true);
    }
    Err(TemplateError::new("unclosed comment"))
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action;
    let mut glued = false;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
            glued = false;
            continue;
        }
        let (token, length) = token(rest, first, glued)?;
        tokens.push(token);
        rest = &rest[length..];
        glued = true;
    }
    Ok(tokens)
}

fn token(rest: &str, first: char, glued: bool) -> Result<(Token, usize), TemplateError> {
    let simple = |token| Ok((token, first.len_utf8()));
    match first {
        '|' => simple(Token::Pipe),
        '(' => simple(Token::Open),
        ')' => simple(Token::Close),
        ',' => simple(Token::Comma),
        '=' => simple(Token::Assign),
        ':' if rest.starts_with(":=") => Ok((Token::Declare, 2)),
        '.' => match word_length(&rest[1..]) {
            0 => simple(Token::Dot),
            length => Ok((
                Token::Field {
                    name: rest[1..=length].to_owned(),
                    glued,
                },
                1 + length,
            )),
        },
        '$' => {
            let length = word_length(&rest[1..]);
            Ok((Token::Variable(rest[1..=length].to_owned()), 1 + length))
        }
        '"' | '`' | '\'' => quoted(rest, first),
        _ if first.is_ascii_digit() || first == '-' || first == '+' => number(rest),
        _ => match word_length(rest) {
            0 => Err(TemplateError::new(format!("unexpected {first:?} in action"))),
            length => Ok((Token::Word(rest[..length].to_owned()), length)),
        },
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

fn quoted(rest: &str, quote: char) -> Result<(Token, usize), TemplateError> {
    let end = string_end(rest.as_bytes(), 0, quote as u8)?;
    let inner = &rest[1..end];
    let text = if quote == '`' {
        inner.to_owned()
    } else {
        unquote(inner)?
    };
    Ok((Token::Text(text), end + 1))
}

fn unquote(inner: &str) -> Result<String, TemplateError> {
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        text.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(same @ ('\\' | '"' | '\'')) => same,
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(TemplateError::new(format!("unknown escape \\{shown} in string")));
            }
        });
    }
    Ok(text)
}

fn number(rest: &str) -> Result<(Token, usize), TemplateError> {
    let length = rest
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_alphanumeric() || c == '.' || (at == 0 && (c == '-' || c == '+'))))
        .map_or(rest.len(), |(at, _)| at);
    let text = &rest[..length];
    if let Ok(integer) = text.parse() {
        return Ok((Token::Integer(integer), length));
    }
    match text.parse() {
        Ok(float) => Ok((Token::Float(float), length)),
        Err(_) => Err(TemplateError::new(format!("bad number {text:?}"))),
    }
}
