//! `printf` with Go's verbs `%s %v %d %q %x %t %f %%`, flags `-` and `0`, width and precision.

use serde_json::Value;

use super::{TemplateError, value};

/// Longest field that a format may ask for: a width is a layout, not a way to use memory.
const WIDEST: usize = 4096;

#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats the arguments as the format says. Too few or too many show up in the text, as they do in Go.
pub fn printf(format: &str, args: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let spec = spec(&mut chars)?;
        match chars.next() {
            Some('%') => out.push('%'),
            None => out.push_str("%!(NOVERB)"),
            Some(verb) => match args.next() {
                Some(arg) => out.push_str(&padded(&converted(verb, arg, &spec), &spec)),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let extra: Vec<_> = args.map(value::text).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn spec(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Spec, TemplateError> {
    let mut spec = Spec::default();
    while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '0' | '+' | '#' | ' ')) {
        match flag {
            '-' => spec.left = true,
            '0' => spec.zero = true,
            _ => {}
        }
    }
    spec.width = count(chars)?.unwrap_or(0);
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(count(chars)?.unwrap_or(0));
    }
    Ok(spec)
}

fn count(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, TemplateError> {
    let mut count = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let next = count.unwrap_or(0) * 10 + digit as usize;
        if next > WIDEST {
            return Err(TemplateError::new(format!("width or precision above {WIDEST}")));
        }
        count = Some(next);
    }
    Ok(count)
}

fn converted(verb: char, arg: &Value, spec: &Spec) -> String {
    match (verb, arg) {
        ('v', _) => value::text(arg),
        ('s', Value::String(_) | Value::Array(_)) => {
            let text = value::text(arg);
            match spec.precision {
                Some(precision) => text.chars().take(precision).collect(),
                None => text,
            }
        }
        ('d', Value::Number(number)) if !number.is_f64() => number.to_string(),
        ('x', Value::Number(number)) if number.is_i64() || number.is_u64() => {
            format!("{:x}", number.as_i64().unwrap_or_default())
        }
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('q', Value::String(text)) => format!("{text:?}"),
        ('t', Value::Bool(value)) => value.to_string(),
        ('f', Value::Number(number)) => {
            format!(
                "{:.*}",
                spec.precision.unwrap_or(6),
                number.as_f64().unwrap_or_default()
            )
        }
        _ => format!("%!{verb}({})", value::text(arg)),
    }
}

fn padded(text: &str, spec: &Spec) -> String {
    let fill = spec.width.saturating_sub(text.chars().count());
    match (spec.left, spec.zero) {
        (true, _) => format!("{text}{}", " ".repeat(fill)),
        (false, true) => format!("{}{text}", "0".repeat(fill)),
        (false, false) => format!("{}{text}", " ".repeat(fill)),
    }
}
