//! `-v`, `--mount` and `--tmpfs`.

use std::path;

use bollard::models::{
    HostConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
};
use clap::Args;

use super::{bytes::parse_bytes, pairs};

/// What is mounted into the container.
#[derive(Debug, Default, Args)]
pub struct MountFlags {
    /// Folder or file of the host to mount (source:target[:ro,…])
    #[arg(short, long, value_name = "SOURCE:TARGET", value_parser = volume)]
    volume: Vec<String>,
    /// Mount in words: type=bind|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_name = "MOUNT", value_parser = mount)]
    mount: Vec<Mount>,
    /// Empty file system in memory (target[:options])
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
}

impl MountFlags {
    /// Adds what the flags say.
    pub fn apply(&self, host: &mut HostConfig) {
        host.binds = pairs::list(&self.volume);
        host.mounts = (!self.mount.is_empty()).then(|| self.mount.clone());
        let target = |flag: &String| match flag.split_once(':') {
            Some((target, options)) => (target.to_owned(), options.to_owned()),
            None => (flag.clone(), String::new()),
        };
        host.tmpfs = (!self.tmpfs.is_empty()).then(|| self.tmpfs.iter().map(target).collect());
    }
}

/// Checks a bind and makes its source absolute. Named and anonymous volumes are for later.
fn volume(text: &str) -> Result<String, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, rest) = match parts.as_slice() {
        [_] => return Err("anonymous volumes are not supported by davit yet".to_owned()),
        [source, rest @ ..] if rest.len() <= 2 && rest.iter().all(|part| !part.is_empty()) => (*source, rest.join(":")),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    if source.is_empty() {
        return Err(format!("invalid volume specification: '{text}'"));
    }
    if !source.starts_with(['/', '.']) {
        return Err(format!(
            "named volumes are not supported by davit yet: {source:?} is not a path"
        ));
    }
    let source = path::absolute(source).map_err(|error| error.to_string())?;
    Ok(format!("{}:{rest}", source.display()))
}

/// Parses a mount in words.
fn mount(text: &str) -> Result<Mount, String> {
    let mut kind = "volume".to_owned();
    let mut mount = Mount::default();
    let mut bind = MountBindOptions::default();
    let mut tmpfs = MountTmpfsOptions::default();
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, "true"));
        match (key.to_ascii_lowercase().as_str(), field.contains('=')) {
            ("type", true) => kind = value.to_ascii_lowercase(),
            ("source" | "src", true) => mount.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", true) => mount.target = Some(value.to_owned()),
            ("readonly" | "ro", _) => mount.read_only = Some(switch(key, value)?),
            ("consistency", true) => mount.consistency = Some(value.to_owned()),
            ("bind-propagation", true) => bind.propagation = Some(propagation(value)?),
            ("bind-nonrecursive", _) => bind.non_recursive = Some(switch(key, value)?),
            ("tmpfs-size", true) => tmpfs.size_bytes = Some(parse_bytes(value)?),
            ("tmpfs-mode", true) => tmpfs.mode = Some(mode(value)?),
            (_, true) => return Err(format!("unknown option '{key}' in '{field}'")),
            (_, false) => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
    }
    let has_bind = bind != MountBindOptions::default();
    let has_tmpfs = tmpfs != MountTmpfsOptions::default();
    if mount.target.is_none() {
        return Err("target is required".to_owned());
    }
    match kind.as_str() {
        "bind" if has_tmpfs => Err("cannot mix 'tmpfs-*' options with mount type 'bind'".to_owned()),
        "bind" => {
            let source = mount.source.take().ok_or("source is required for mount type 'bind'")?;
            let source = path::absolute(source).map_err(|error| error.to_string())?;
            mount.source = Some(source.display().to_string());
            mount.bind_options = has_bind.then_some(bind);
            mount.typ = Some(MountType::BIND);
            Ok(mount)
        }
        "tmpfs" if has_bind => Err("cannot mix 'bind-*' options with mount type 'tmpfs'".to_owned()),
        "tmpfs" => {
            mount.tmpfs_options = has_tmpfs.then_some(tmpfs);
            mount.typ = Some(MountType::TMPFS);
            Ok(mount)
        }
        "volume" | "image" | "npipe" | "cluster" => Err(format!("mount type '{kind}' is not supported by davit yet")),
        _ => Err(format!("invalid mount type: {kind}")),
    }
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

fn mode(value: &str) -> Result<i64, String> {
    i64::from_str_radix(value, 8).map_err(|_| format!("invalid value for tmpfs-mode: {value}"))
}

fn propagation(value: &str) -> Result<MountBindOptionsPropagationEnum, String> {
    value
        .parse()
        .map_err(|_| format!("invalid value for bind-propagation: {value}"))
}
