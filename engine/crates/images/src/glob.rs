//! Shell patterns over names: `*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes, `\` quotes.

/// Whether the whole text fits the pattern. A malformed pattern fits nothing.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    fits(&pattern, &text)
}

/// Whether the pattern is well-formed: classes are closed and not empty, and nothing ends in a backslash.
pub(crate) fn is_valid(pattern: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut rest = pattern.as_slice();
    while let Some(first) = rest.first() {
        rest = match first {
            '\\' if rest.len() == 1 => return false,
            '\\' => &rest[2..],
            '[' => match class(&rest[1..], '\0') {
                Some((_, after)) => after,
                None => return false,
            },
            _ => &rest[1..],
        };
    }
    true
}

/// Iterative, with one point to come back to: the last star. A slash ends a star's reach for good.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        if let (Some(letter), Some(width)) = (text.get(t), text.get(t).and_then(|it| step(&pattern[p..], *it))) {
            debug_assert!(*letter != '\0' || width > 0);
            p += width;
            t += 1;
            continue;
        }
        match star {
            Some((at, from)) if from < text.len() && text[from] != '/' => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    true
}

/// How much of the pattern one letter uses up; `None` where it does not fit.
fn step(pattern: &[char], letter: char) -> Option<usize> {
    match pattern.first()? {
        '?' => (letter != '/').then_some(1),
        '\\' => (pattern.get(1) == Some(&letter)).then_some(2),
        '[' => {
            let (holds, after) = class(&pattern[1..], letter)?;
            (holds && letter != '/').then_some(pattern.len() - after.len())
        }
        other => (*other == letter).then_some(1),
    }
}

/// Whether a class (after its opening bracket) holds a letter, and what follows it; `None` where it is malformed.
fn class(pattern: &[char], letter: char) -> Option<(bool, &[char])> {
    let is_negated = pattern.first() == Some(&'^');
    let mut rest = if is_negated { &pattern[1..] } else { pattern };
    let mut holds = false;
    let mut is_empty = true;
    loop {
        let (low, after) = member(rest, is_empty)?;
        let Some(low) = low else {
            return Some((holds != is_negated, after));
        };
        let (high, after) = match after {
            ['-', after @ ..] => {
                let (high, after) = member(after, true)?;
                (high?, after)
            }
            _ => (low, after),
        };
        holds |= (low..=high).contains(&letter);
        is_empty = false;
        rest = after;
    }
}

/// The next member of a class, or `None` inside for its end.
fn member(pattern: &[char], must_be_one: bool) -> Option<(Option<char>, &[char])> {
    match pattern {
        [']', after @ ..] if !must_be_one => Some((None, after)),
        ['\\', quoted, after @ ..] => Some((Some(*quoted), after)),
        [']' | '-' | '\\', ..] | [] => None,
        [letter, after @ ..] => Some((Some(*letter), after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_a_shell_and_stars_stop_at_slashes() {
        for (pattern, text) in [
            ("busybox", "busybox"),
            ("busy*", "busybox:latest"),
            ("*:latest", "busybox:latest"),
            ("*/web:1.*", "me/web:1.2"),
            ("b?sy[a-c]ox", "busybox"),
            ("[^a]usybox", "busybox"),
            ("a\\*", "a*"),
            ("*a*b", "xaxxb"),
            ("", ""),
        ] {
            assert!(is_valid(pattern) && matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("busy", "busybox"),
            ("*", "a/b"),
            ("?", "/"),
            ("[^a]", "a"),
            ("*b", "b/c"),
            ("a*/c", "a/b/c"),
            ("", "a"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn malformed_patterns_are_known_and_fit_nothing() {
        for pattern in ["[", "[]", "[a", "a\\", "[a-]", "[-a]"] {
            assert!(!is_valid(pattern), "{pattern}");
            assert!(!matches(pattern, "a"), "{pattern}");
        }
    }
}
