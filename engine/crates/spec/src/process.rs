//! The process: command line, environment, identity, capabilities, limits. For a container's first process and for execs.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process,
    ProcessBuilder, UserBuilder,
};

use crate::{Machine, capabilities, config::Config, error::SpecError, host::Host, host::Ulimit, user::Identity};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A process in a container, whichever.
pub(crate) struct Plan<'a> {
    pub host: &'a Host,
    pub machine: &'a Machine,
    pub identity: &'a Identity,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: &'a str,
    pub tty: bool,
    pub privileged: bool,
}

pub(crate) fn process(plan: Plan<'_>) -> Process {
    let Plan { host, identity, .. } = plan;
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone());
    let user = user.build().expect("uid and gid are set");
    let set = capabilities::effective(
        &host.cap_add,
        &host.cap_drop,
        plan.privileged,
        &plan.machine.capabilities,
    );
    let cwd = if plan.cwd.is_empty() { "/" } else { plan.cwd };
    let mut process = ProcessBuilder::default()
        .terminal(plan.tty)
        .user(user)
        .args(plan.args)
        .env(plan.env)
        .cwd(cwd)
        .no_new_privileges(host.security.no_new_privileges)
        .capabilities(capability_sets(&set, identity.uid))
        .oom_score_adj(host.oom_score_adj);
    if plan.tty && host.console_size != [0, 0] {
        let [height, width] = host.console_size;
        let size = oci_spec::runtime::BoxBuilder::default().height(height).width(width);
        process = process.console_size(size.build().expect("height and width are set"));
    }
    let mut process = process.build().expect("user and cwd are set");
    let limits = rlimits(&host.ulimits);
    // Set even when empty: the builder's own default is a limit on open files.
    process.set_rlimits((!limits.is_empty()).then_some(limits));
    process
}

/// Inheritable and ambient stay empty (CVE-2022-24769); who is not root has the bounding set alone, as in Docker.
fn capability_sets(names: &[&'static str], uid: u32) -> LinuxCapabilities {
    let set: std::collections::HashSet<Capability> = names
        .iter()
        .filter_map(|name| serde_json::from_value((*name).into()).ok())
        .collect();
    let active = if uid == 0 { set.clone() } else { Default::default() };
    let sets = LinuxCapabilitiesBuilder::default()
        .bounding(set)
        .effective(active.clone())
        .permitted(active)
        .inheritable(std::collections::HashSet::new())
        .ambient(std::collections::HashSet::new());
    sets.build().expect("every field has a default")
}

/// Checks name and values of a limit.
pub fn check_ulimit(ulimit: &Ulimit) -> Result<(), SpecError> {
    if rlimit_type(&ulimit.name).is_none() {
        return Err(SpecError::invalid(format!("invalid ulimit type: {}", ulimit.name)));
    }
    if ulimit.hard != -1 && (ulimit.soft == -1 || ulimit.soft > ulimit.hard) {
        let text = format!(
            "ulimit soft limit must be less than or equal to hard limit: {} > {}",
            ulimit.soft, ulimit.hard
        );
        return Err(SpecError::invalid(text));
    }
    Ok(())
}

fn rlimits(ulimits: &[Ulimit]) -> Vec<PosixRlimit> {
    // -1 is "no limit", which the kernel knows as the largest number.
    let value = |limit: i64| limit as u64;
    let limits = ulimits.iter().filter_map(|ulimit| {
        let limit = PosixRlimitBuilder::default()
            .typ(rlimit_type(&ulimit.name)?)
            .soft(value(ulimit.soft))
            .hard(value(ulimit.hard));
        Some(limit.build().expect("type, soft and hard are set"))
    });
    limits.collect()
}

fn rlimit_type(name: &str) -> Option<PosixRlimitType> {
    serde_json::from_value(format!("RLIMIT_{}", name.to_ascii_uppercase()).into()).ok()
}

/// PATH, HOSTNAME, TERM (with a terminal), then what image and user set; HOME as the last resort.
pub(crate) fn environment(config: &Config, tty: bool, own: &[String], home: &str) -> Vec<String> {
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={}", config.hostname)];
    if tty {
        env.push("TERM=xterm".into());
    }
    let mut env = replace(env, own);
    if !home.is_empty() && !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// Later entries replace earlier ones in their place; a bare key removes.
fn replace(env: Vec<String>, own: &[String]) -> Vec<String> {
    let key = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut order: Vec<Option<String>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for entry in env.iter().chain(own) {
        let value = entry.contains('=').then(|| entry.clone());
        match places.get(&key(entry)) {
            Some(&place) => order[place] = value,
            None => {
                places.insert(key(entry), order.len());
                order.push(value);
            }
        }
    }
    order.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_replaces_what_the_engine_sets() {
        let config = Config {
            hostname: "box".into(),
            ..Config::default()
        };
        let own = ["PATH=/bin".to_owned(), "TERM".into(), "A=1".into(), "A=2".into()];
        let env = environment(&config, true, &own, "/root");
        assert_eq!(env, ["PATH=/bin", "HOSTNAME=box", "A=2", "HOME=/root"]);
    }

    #[test]
    fn ulimits_are_checked_by_name_and_order() {
        let check = |name: &str, soft, hard| {
            let name = name.into();
            check_ulimit(&Ulimit { name, soft, hard })
        };
        assert!(check("nofile", 1, 2).is_ok());
        assert!(check("nofile", -1, -1).is_ok());
        assert!(check("nofile", 2, 1).is_err());
        assert!(check("nope", 1, 2).is_err());
    }
}
