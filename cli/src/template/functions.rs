//! The functions that a template may call: Go's own and the ones Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::{TemplateError, printf::printf, value};

type Function = fn(&[Value]) -> Result<Value, TemplateError>;

/// Every function, with the least and the most arguments it takes.
const FUNCTIONS: &[(&str, usize, usize, Function)] = &[
    // `and` and `or` are evaluated lazily by the caller; they stand here to be known names.
    ("and", 1, usize::MAX, last),
    ("or", 1, usize::MAX, last),
    ("not", 1, 1, |args| Ok((!value::is_true(&args[0])).into())),
    ("eq", 2, usize::MAX, |args| {
        Ok(args[1..].iter().any(|other| equal(&args[0], other)).into())
    }),
    ("ne", 2, 2, |args| Ok((!equal(&args[0], &args[1])).into())),
    ("lt", 2, 2, |args| Ok((order(args)? == Ordering::Less).into())),
    ("le", 2, 2, |args| Ok((order(args)? != Ordering::Greater).into())),
    ("gt", 2, 2, |args| Ok((order(args)? == Ordering::Greater).into())),
    ("ge", 2, 2, |args| Ok((order(args)? != Ordering::Less).into())),
    ("len", 1, 1, length),
    ("index", 1, usize::MAX, index),
    ("slice", 1, 3, slice),
    ("print", 0, usize::MAX, |args| Ok(joined(args, "").into())),
    ("println", 0, usize::MAX, |args| {
        Ok(format!("{}\n", joined(args, " ")).into())
    }),
    ("printf", 1, usize::MAX, |args| {
        Ok(printf(&text(args, 0)?, &args[1..])?.into())
    }),
    ("json", 1, 1, |args| Ok(args[0].to_string().into())),
    ("join", 2, 2, join),
    ("split", 2, 2, split),
    ("lower", 1, 1, |args| Ok(text(args, 0)?.to_lowercase().into())),
    ("upper", 1, 1, |args| Ok(text(args, 0)?.to_uppercase().into())),
    ("title", 1, 1, |args| Ok(title(&text(args, 0)?).into())),
    ("truncate", 2, 2, truncate),
    ("pad", 3, 3, pad),
];

/// Whether a function of this name exists.
pub fn is_known(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Calls a function.
pub fn call(name: &str, args: &[Value]) -> Result<Value, TemplateError> {
    let Some((_, least, most, function)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        return Err(TemplateError::new(format!("function {name:?} not defined")));
    };
    if args.len() < *least || args.len() > *most {
        let want = if least == most {
            format!("{least}")
        } else {
            format!("at least {least}")
        };
        return Err(TemplateError::new(format!(
            "wrong number of args for {name}: want {want} got {}",
            args.len()
        )));
    }
    function(args).map_err(|error| TemplateError::new(format!("error calling {name}: {}", error.0)))
}

fn last(args: &[Value]) -> Result<Value, TemplateError> {
    Ok(args.last().cloned().unwrap_or(Value::Null))
}

fn text(args: &[Value], at: usize) -> Result<String, TemplateError> {
    match &args[at] {
        Value::String(text) => Ok(text.clone()),
        other => Err(TemplateError::new(format!(
            "wrong type for value; expected string; got {}",
            value::text(other)
        ))),
    }
}

fn integer(args: &[Value], at: usize) -> Result<usize, TemplateError> {
    let number = args[at].as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| TemplateError::new(format!("expected integer; found {}", value::text(&args[at]))))
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn order(args: &[Value]) -> Result<Ordering, TemplateError> {
    let incomparable = || TemplateError::new("incompatible types for comparison");
    match (&args[0], &args[1]) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (a, b) => {
            let (a, b) = (
                a.as_f64().ok_or_else(incomparable)?,
                b.as_f64().ok_or_else(incomparable)?,
            );
            a.partial_cmp(&b).ok_or_else(incomparable)
        }
    }
}

fn length(args: &[Value]) -> Result<Value, TemplateError> {
    match &args[0] {
        Value::String(text) => Ok(text.len().into()),
        Value::Array(items) => Ok(items.len().into()),
        Value::Object(map) => Ok(map.len().into()),
        Value::Null => Ok(0.into()),
        other => Err(TemplateError::new(format!("len of {}", value::text(other)))),
    }
}

fn index(args: &[Value]) -> Result<Value, TemplateError> {
    let mut current = args[0].clone();
    for (at, key) in args.iter().enumerate().skip(1) {
        current = match (&current, key) {
            // A map without the key gives its zero value, which for the API's maps prints as nothing.
            (Value::Object(map), Value::String(key)) => map.get(key).cloned().unwrap_or_else(|| "".into()),
            (Value::Array(items), _) => match items.get(integer(args, at)?) {
                Some(item) => item.clone(),
                None => return Err(TemplateError::new(format!("index out of range: {}", value::text(key)))),
            },
            (Value::Null, _) => return Err(TemplateError::new("index of nil")),
            (other, _) => return Err(TemplateError::new(format!("can't index {}", value::text(other)))),
        };
    }
    Ok(current)
}

fn slice(args: &[Value]) -> Result<Value, TemplateError> {
    let out_of_range = || TemplateError::new("index out of range");
    let start = if args.len() > 1 { integer(args, 1)? } else { 0 };
    match &args[0] {
        Value::String(text) => {
            let end = if args.len() > 2 { integer(args, 2)? } else { text.len() };
            Ok(text.get(start..end).ok_or_else(out_of_range)?.into())
        }
        Value::Array(items) => {
            let end = if args.len() > 2 { integer(args, 2)? } else { items.len() };
            Ok(items.get(start..end).ok_or_else(out_of_range)?.to_vec().into())
        }
        other => Err(TemplateError::new(format!("can't slice {}", value::text(other)))),
    }
}

fn joined(args: &[Value], separator: &str) -> String {
    args.iter().map(value::text).collect::<Vec<_>>().join(separator)
}

fn join(args: &[Value]) -> Result<Value, TemplateError> {
    match &args[0] {
        Value::Array(items) => Ok(joined(items, &text(args, 1)?).into()),
        Value::Null => Ok("".into()),
        other => Err(TemplateError::new(format!(
            "expected a list; got {}",
            value::text(other)
        ))),
    }
}

fn split(args: &[Value]) -> Result<Value, TemplateError> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    if separator.is_empty() {
        return Ok(text.chars().map(|c| Value::from(c.to_string())).collect());
    }
    Ok(text.split(separator.as_str()).map(Value::from).collect())
}

fn title(text: &str) -> String {
    let mut starts_word = true;
    let mut titled = String::with_capacity(text.len());
    for c in text.chars() {
        if starts_word {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        starts_word = !c.is_alphanumeric() && c != '_' && c != '\'';
    }
    titled
}

fn truncate(args: &[Value]) -> Result<Value, TemplateError> {
    let length = integer(args, 1)?;
    Ok(text(args, 0)?.chars().take(length).collect::<String>().into())
}

fn pad(args: &[Value]) -> Result<Value, TemplateError> {
    let text = text(args, 0)?;
    if text.is_empty() {
        return Ok(text.into());
    }
    Ok(format!(
        "{}{text}{}",
        " ".repeat(integer(args, 1)?),
        " ".repeat(integer(args, 2)?)
    )
    .into())
}
