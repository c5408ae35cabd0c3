//! `0-2,5` as a bit mask, the form in which systemd takes sets of processors.

/// More processors than any kernel is built for; a set of billions would be a mask of as many bits.
const HIGHEST: u32 = 65_535;

/// The mask, least significant byte first and no longer than needed; `None` for what is no list, or an empty one.
pub(crate) fn parse(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > HIGHEST {
            return None;
        }
        for number in first..=last {
            let byte = number as usize / 8;
            if mask.len() <= byte {
                mask.resize(byte + 1, 0);
            }
            mask[byte] |= 1 << (number % 8);
        }
    }
    (!mask.is_empty()).then_some(mask)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists_become_masks() {
        for (list, mask) in [
            ("0", &[1][..]),
            ("1,3-5", &[0b11_1010]),
            ("0-2, 5,", &[0b10_0111]),
            ("8", &[0, 1]),
            ("4-9", &[0xf0, 0b11]),
        ] {
            assert_eq!(parse(list).as_deref(), Some(mask), "{list}");
        }
        for list in ["", ",", "x", "3-1", "-1", "0-4000000000", "1-2-3"] {
            assert_eq!(parse(list), None, "{list}");
        }
    }
}
