//! `--change`: the Dockerfile instructions that alter a configuration without building anything.

use std::collections::BTreeMap;

use crate::{ContainerConfig, ImageError, Result, config::Empty};

/// Applies them in order. An instruction that builds (`RUN`, `COPY`) or that is not offered is refused by name.
pub(crate) fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<()> {
    changes
        .iter()
        .map(|change| change.trim())
        .filter(|change| !change.is_empty())
        .try_for_each(|change| {
            let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
            apply_one(config, &instruction.to_ascii_uppercase(), rest.trim())
        })
}

fn apply_one(config: &mut ContainerConfig, instruction: &str, rest: &str) -> Result<()> {
    if rest.is_empty() && !matches!(instruction, "CMD" | "ENTRYPOINT") {
        return Err(ImageError::InvalidChange(format!(
            "{instruction} requires at least one argument"
        )));
    }
    match instruction {
        "CMD" => config.cmd = Some(command(rest)?),
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)?),
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (name, value) in pairs(instruction, rest)? {
                env.retain(|set| set.split('=').next() != Some(&name));
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => config
            .labels
            .get_or_insert_with(BTreeMap::new)
            .extend(pairs(instruction, rest)?),
        "WORKDIR" => config.working_dir = workdir(&config.working_dir, &unquote(rest)?),
        "USER" => config.user = one_word(instruction, rest)?,
        "STOPSIGNAL" => config.stop_signal = one_word(instruction, rest)?,
        "EXPOSE" => {
            for port in words(rest)? {
                config
                    .exposed_ports
                    .extend(ports(&port)?.into_iter().map(|port| (port, Empty {})));
            }
        }
        "VOLUME" => {
            let paths = if rest.starts_with('[') {
                json_list(rest)?
            } else {
                words(rest)?
            };
            config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "ONBUILD" | "HEALTHCHECK" | "SHELL" => {
            return Err(ImageError::InvalidChange(format!(
                "{instruction} is not offered as a change yet"
            )));
        }
        other => {
            return Err(ImageError::InvalidChange(format!(
                "{other} is not a valid change command"
            )));
        }
    }
    Ok(())
}

/// The exec form as it is, the shell form through a shell.
fn command(rest: &str) -> Result<Vec<String>> {
    if rest.starts_with('[')
        && let Ok(list) = json_list(rest)
    {
        return Ok(list);
    }
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    Ok(["/bin/sh", "-c", rest].map(String::from).into())
}

fn json_list(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text)
        .map_err(|error| ImageError::InvalidChange(format!("{text} is no list of texts: {error}")))
}

/// `NAME=value …`, or the old `NAME value`.
fn pairs(instruction: &str, rest: &str) -> Result<Vec<(String, String)>> {
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let Some((name, value)) = rest.split_once(char::is_whitespace) else {
            return Err(ImageError::InvalidChange(format!(
                "{instruction} must have two arguments"
            )));
        };
        return Ok(vec![(unquote(name)?, unquote(value.trim())?)]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(ImageError::InvalidChange(format!(
            "{instruction} names can not be blank"
        ))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(ImageError::InvalidChange(format!(
            "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
        ))),
    };
    words(rest)?.into_iter().map(pair).collect()
}

fn one_word(instruction: &str, rest: &str) -> Result<String> {
    let words = words(rest)?;
    match <[String; 1]>::try_from(words) {
        Ok([word]) => Ok(word),
        Err(_) => Err(ImageError::InvalidChange(format!(
            "{instruction} requires exactly one argument"
        ))),
    }
}

fn unquote(text: &str) -> Result<String> {
    Ok(words(text)?.join(" "))
}

/// Words as a shell splits them: quotes group, a backslash quotes one character.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(letters.next().unwrap_or('\\')),
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(ImageError::InvalidChange(format!(
            "unexpected end of statement while looking for matching quote: {text}"
        )));
    }
    words.extend(word);
    Ok(words)
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Result<Vec<String>> {
    let invalid = || ImageError::InvalidChange(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(ImageError::InvalidChange(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| invalid());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A relative directory is below the one before.
fn workdir(before: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{before}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> Result<ContainerConfig> {
        let mut config = ContainerConfig::default();
        let changes: Vec<String> = changes.iter().map(|it| (*it).into()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn instructions_change_the_configuration_as_in_a_dockerfile() {
        let config = applied(&[
            r#"CMD ["a", "b c"]"#,
            "entrypoint run me",
            r#"ENV A=1 B="x y" A=2"#,
            "ENV C old form",
            "LABEL k=v 'two words'=w",
            "WORKDIR /a",
            "WORKDIR ../b/./c",
            "USER me:us",
            "EXPOSE 80 90-91/udp",
            r#"VOLUME ["/data", "/log"]"#,
            "STOPSIGNAL SIGINT",
        ])
        .unwrap();
        assert_eq!(config.cmd.unwrap(), ["a", "b c"]);
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.env.unwrap(), ["B=x y", "A=2", "C=old form"]);
        assert_eq!(config.labels.unwrap()["two words"], "w");
        assert_eq!(config.working_dir, "/b/c");
        assert_eq!(config.user, "me:us");
        assert_eq!(
            config.exposed_ports.keys().collect::<Vec<_>>(),
            ["80/tcp", "90/udp", "91/udp"]
        );
        assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["/data", "/log"]);
        assert_eq!(config.stop_signal, "SIGINT");
    }

    #[test]
    fn what_is_no_change_is_refused_by_name() {
        for (change, words) in [
            ("RUN x", "RUN is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "can't find ="),
            ("EXPOSE 99999", "invalid containerPort"),
            ("EXPOSE 80/icmp", "invalid proto"),
            ("LABEL a='b", "matching quote"),
            ("USER a b", "exactly one argument"),
            ("HEALTHCHECK NONE", "HEALTHCHECK is not offered"),
        ] {
            let error = applied(&[change]).unwrap_err().to_string();
            assert!(error.contains(words), "{change}: {error}");
        }
    }
}
