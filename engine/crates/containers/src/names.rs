//! Container names: the rule, and names for those who give none.

use rand::seq::IndexedRandom as _;

use crate::error::ContainerError;

/// Checks a name as the user gave it; a leading slash is dropped.
pub fn parse(name: &str) -> Result<String, ContainerError> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    // Docker's rule wants two characters at least.
    if first && rest && bare.len() >= 2 {
        Ok(bare.to_owned())
    } else {
        Err(ContainerError::InvalidName(name.into()))
    }
}

/// A name such as `brave_keel`; `attempt` counts those that were taken, and adds digits from the second on.
pub fn generate(attempt: u32) -> String {
    let mut random = rand::rng();
    let mut pick = |list: &[&'static str]| list.choose(&mut random).copied().unwrap_or("plain");
    let name = format!("{}_{}", pick(&MANNERS), pick(&PARTS));
    if attempt == 0 {
        name
    } else {
        format!("{name}{}", rand::random_range(0..10u32.pow(attempt.min(6))))
    }
}

const MANNERS: [&str; 48] = [
    "able", "agile", "bold", "brave", "bright", "brisk", "calm", "careful", "cheerful", "clear", "clever", "cosy",
    "curious", "daring", "eager", "early", "easy", "fair", "fine", "fond", "fresh", "gentle", "glad", "grand", "happy",
    "honest", "jolly", "keen", "kind", "lively", "loyal", "lucky", "merry", "mild", "neat", "noble", "patient",
    "polite", "proud", "quick", "quiet", "ready", "sharp", "steady", "swift", "tidy", "warm", "wise",
];

const PARTS: [&str; 48] = [
    "anchor", "ballast", "batten", "beacon", "block", "boom", "bosun", "bow", "bridge", "bulwark", "buoy", "cabin",
    "capstan", "chart", "cleat", "compass", "cutter", "davit", "deck", "derrick", "dinghy", "fender", "frigate",
    "galley", "gangway", "hatch", "haven", "hawser", "helm", "hull", "jib", "keel", "ketch", "lantern", "mast",
    "mizzen", "oar", "pilot", "porthole", "quay", "rudder", "sail", "schooner", "sextant", "sloop", "spar", "tiller",
    "winch",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "web-1", "/web", "A.b_c"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-a", ".a", "a/b", "a b", "//a", "..", "ä1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_names_obey_the_rule_themselves() {
        for attempt in 0..20 {
            assert!(parse(&generate(attempt)).is_ok());
        }
    }
}
