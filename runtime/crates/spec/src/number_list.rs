//! Lists of CPUs or memory nodes, as config.json and the kernel write them: `0-3,7`.

/// One more than the highest number: what the kernel's fixed-size masks hold (`CPU_SETSIZE`).
const END: u32 = 1024;

/// Why a list cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberListError {
    #[error("{0:?} is no number below {END}")]
    Number(String),
    #[error("invalid range: {0}")]
    Range(String),
    #[error("no CPUs found in {0:?}")]
    Nothing(String),
}

/// The numbers of a list, in order and each once; none for an empty text. Extra commas and spaces are tolerated.
pub(crate) fn parse(text: &str) -> Result<Vec<u32>, NumberListError> {
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(NumberListError::Range(part.into()));
                }
                numbers.extend(first..=last);
            }
        }
    }
    if numbers.is_empty() && !text.is_empty() {
        return Err(NumberListError::Nothing(text.into()));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

fn number(text: &str) -> Result<u32, NumberListError> {
    let number = text.parse().ok().filter(|number| *number < END);
    number.ok_or_else(|| NumberListError::Number(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_numbers_ranges_and_room_between() {
        for (text, numbers) in [
            ("", &[][..]),
            ("7", &[7]),
            ("0-3,7", &[0, 1, 2, 3, 7]),
            (" 2 ,, 1,1-2,", &[1, 2]),
            ("1023", &[1023]),
        ] {
            assert_eq!(parse(text).unwrap(), numbers, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            ",",
            " ",
            "x",
            "-1",
            "1-",
            "3-1",
            "1024",
            "0-4294967295",
            "1--2",
            "99999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
