//! Sizes such as `64m` and `1.5g`, in steps of 1024.

/// Parses a size in bytes. Units are b, k, m, g, t and p, with or without `b` or `ib` after them.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| invalid())?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024f64.powi(power);
    // 2^63 is exact as a float, and the first that does not fit.
    if bytes >= 9_223_372_036_854_775_808.0 {
        return Err(invalid());
    }
    Ok(bytes as i64)
}

/// A size, or `-1` for no limit.
pub fn parse_bytes_or_unlimited(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        _ => parse_bytes(text),
    }
}
