//! From what a user asked for and an image to a record.

use davit_engine_images::{ImageConfig, ResolvedImage};
use davit_engine_spec::{Config, Host, check_ulimit, resources, signal};
use davit_vocabulary::ContainerId;
use jiff::Timestamp;

use crate::{
    context::Context,
    error::ContainerError,
    id,
    record::{Record, State},
};

/// What a user asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// The name; the engine finds one where it is missing.
    pub name: Option<String>,
    /// What runs; what is not set comes from the image.
    pub config: Config,
    /// How it is held.
    pub host: Host,
}

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The record, checked, and what the user should know of it.
pub(crate) fn record(
    context: &Context,
    request: CreateRequest,
    name: String,
    id: ContainerId,
    image: &ResolvedImage,
) -> Result<(Record, Vec<String>), ContainerError> {
    let CreateRequest {
        mut config, mut host, ..
    } = request;
    merge(&mut config, &image.config);
    if config.command_line().is_empty() {
        return Err(ContainerError::Invalid("no command specified".into()));
    }
    if config.hostname.is_empty() {
        // Docker's rule: who shares the machine's network is named as it.
        let named_as_machine =
            host.uts == davit_engine_spec::UtsMode::Host || host.network == davit_engine_spec::NetworkMode::Host;
        config.hostname = if named_as_machine {
            machine_name()
        } else {
            id.get(..id::SHORT).unwrap_or(&id).to_owned()
        };
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        let text = format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        );
        return Err(ContainerError::Invalid(text));
    }
    if let Some(text) = &config.stop_signal {
        signal::parse(text)?;
    }
    check_host(context, &host)?;
    if host.shm_size == 0 {
        host.shm_size = davit_engine_spec::DEFAULT_SHM_SIZE;
    }
    if host.runtime.is_empty() {
        host.runtime = context.runtimes.default.clone();
    }
    let warnings = warnings(&config, image);
    let record = Record {
        id,
        name,
        created: Timestamp::now(),
        image: image.id.clone(),
        config,
        host,
        state: State::default(),
    };
    Ok((record, warnings))
}

fn check_host(context: &Context, host: &Host) -> Result<(), ContainerError> {
    context.runtimes.choose(&host.runtime)?;
    resources::check(&host.resources, context.machine.cpus)?;
    for ulimit in &host.ulimits {
        check_ulimit(ulimit)?;
    }
    if host.auto_remove && host.restart != davit_engine_spec::RestartPolicy::No {
        let text = "can't create 'AutoRemove' container with restart policy";
        return Err(ContainerError::Invalid(text.into()));
    }
    for mount in &host.mounts {
        if let davit_engine_spec::MountRequest::Bind { source, .. } = mount
            && !std::path::Path::new(source).exists()
        {
            let text = format!("invalid mount config for type \"bind\": bind source path does not exist: {source}");
            return Err(ContainerError::Invalid(text));
        }
    }
    Ok(())
}

/// Fills in from the image what the user left open.
fn merge(config: &mut Config, image: &ImageConfig) {
    let preset = &image.config;
    if config.user.is_empty() {
        config.user.clone_from(&preset.user);
    }
    merge_env(&mut config.env, preset.env.as_deref().unwrap_or_default());
    // An entrypoint of the user's own makes the image's arguments meaningless.
    if config.entrypoint.is_none() {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&preset.cmd);
        }
        config.entrypoint.clone_from(&preset.entrypoint);
    }
    if config
        .entrypoint
        .as_ref()
        .is_some_and(|list| list.iter().all(String::is_empty))
    {
        // `--entrypoint ""` takes the image's away.
        config.entrypoint = None;
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&preset.working_dir);
    }
    for (key, value) in preset.labels.iter().flatten() {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    config.exposed_ports.extend(preset.exposed_ports.keys().cloned());
    config.volumes.extend(preset.volumes.keys().cloned());
    if config.stop_signal.is_none() && !preset.stop_signal.is_empty() {
        config.stop_signal = Some(preset.stop_signal.clone());
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = preset.stop_timeout;
    }
}

fn merge_env(env: &mut Vec<String>, preset: &[String]) {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let own: Vec<String> = env.iter().map(|entry| key(entry)).collect();
    env.extend(preset.iter().filter(|entry| !own.contains(&key(entry))).cloned());
}

fn warnings(config: &Config, image: &ResolvedImage) -> Vec<String> {
    let mut warnings: Vec<String> = config
        .volumes
        .iter()
        .map(|path| format!("The image declares a volume at {path}; volumes are not supported yet, so it stays in the container's own layer."))
        .collect();
    if image.config.config.healthcheck.is_some() {
        warnings.push("The image declares a health check; health checks are not supported yet, so none runs.".into());
    }
    warnings
}

fn machine_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: Option<&[&str]>, cmd: Option<&[&str]>) -> ImageConfig {
        let list = |list: Option<&[&str]>| list.map(|list| list.iter().map(|&word| word.to_owned()).collect());
        let mut image = ImageConfig::default();
        image.config.entrypoint = list(entrypoint);
        image.config.cmd = list(cmd);
        image
    }

    fn merged(entrypoint: Option<&[&str]>, cmd: Option<&[&str]>, preset: &ImageConfig) -> Vec<String> {
        let list = |list: Option<&[&str]>| list.map(|list| list.iter().map(|&word| word.to_owned()).collect());
        let mut config = Config {
            entrypoint: list(entrypoint),
            cmd: list(cmd),
            ..Config::default()
        };
        merge(&mut config, preset);
        config.command_line()
    }

    #[test]
    fn entrypoint_and_command_merge_by_dockers_rules() {
        let preset = image(Some(&["e"]), Some(&["c"]));
        assert_eq!(merged(None, None, &preset), ["e", "c"]);
        assert_eq!(merged(None, Some(&["x"]), &preset), ["e", "x"]);
        assert_eq!(merged(Some(&["y"]), None, &preset), ["y"]);
        assert_eq!(merged(Some(&["y"]), Some(&["x"]), &preset), ["y", "x"]);
        assert_eq!(merged(Some(&[""]), Some(&["x"]), &preset), ["x"]);
    }

    #[test]
    fn the_users_environment_wins_over_the_images() {
        let mut env = vec!["A=user".to_owned(), "C".into()];
        merge_env(&mut env, &["A=image".into(), "B=image".into(), "C=image".into()]);
        assert_eq!(env, ["A=user", "C", "B=image"]);
    }
}
