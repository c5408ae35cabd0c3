//! The command line: dockerd's names where dockerd has them. Unknown flags are errors, clap says which.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;
use ipnet::Ipv4Net;

use crate::config_file::ConfigFile;

/// A container engine that speaks the Docker Engine API.
#[derive(Debug, Parser)]
#[command(name = "davitd", version, disable_version_flag = true)]
pub struct Arguments {
    /// Socket to listen on (unix:///path); may be repeated
    #[arg(short = 'H', long = "host", value_name = "URI")]
    hosts: Vec<String>,
    /// Where images and containers are kept
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Where sockets and other run-time files are kept
    #[arg(long, value_name = "DIR")]
    exec_root: Option<PathBuf>,
    /// Socket of a containerd to use; without it the engine starts its own
    #[arg(long, value_name = "SOCKET")]
    containerd: Option<PathBuf>,
    /// Log at level debug
    #[arg(short = 'D', long)]
    debug: bool,
    /// What to log
    #[arg(short, long, value_name = "LEVEL", value_parser = ["trace", "debug", "info", "warn", "error"])]
    log_level: Option<String>,
    /// Group that may use the socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Name of the default bridge
    #[arg(short, long, value_name = "NAME")]
    bridge: Option<String>,
    /// Address of the default bridge and the subnet of its containers
    #[arg(long, value_name = "CIDR")]
    bip: Option<Ipv4Net>,
    /// File for the engine's pid
    #[arg(short, long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Configuration file with daemon.json's keys
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Registry to speak to without TLS; may be repeated
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    insecure_registries: Vec<String>,
    /// Runtime of containers that name none
    #[arg(long, value_name = "NAME")]
    default_runtime: Option<String>,
    /// An OCI runtime for `--runtime NAME`; may be repeated
    #[arg(long = "add-runtime", value_name = "NAME=PATH")]
    add_runtimes: Vec<String>,
    /// The shim to name to a foreign containerd, instead of the one beside this program
    #[arg(long, value_name = "PATH")]
    shim: Option<PathBuf>,
    /// Print the version and leave
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: (),
}

/// All settings: command line over configuration file over defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sockets to listen on.
    pub hosts: Vec<PathBuf>,
    /// Survives a reboot.
    pub data_root: PathBuf,
    /// Does not.
    pub exec_root: PathBuf,
    /// A containerd of someone else's.
    pub containerd: Option<PathBuf>,
    /// `info` and its like.
    pub log_level: String,
    /// Group that may use the socket.
    pub group: Option<String>,
    /// The default bridge.
    pub bridge: String,
    /// Its address and subnet.
    pub bip: Ipv4Net,
    /// File for the engine's pid.
    pub pidfile: Option<PathBuf>,
    /// Registries spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// What an empty `--runtime` means.
    pub default_runtime: String,
    /// Programs by name.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// The shim for a foreign containerd.
    pub shim: Option<PathBuf>,
}

const DEFAULT_CONFIG: &str = "/etc/davit/davitd.json";

/// The name of the runtime that comes with the engine.
pub const OWN_RUNTIME: &str = "davit";

impl Arguments {
    /// Reads the configuration file and fills in defaults. What both command line and file set is an error, as in dockerd.
    pub fn into_options(self) -> anyhow::Result<Options> {
        let file = ConfigFile::read(self.config_file.as_deref(), DEFAULT_CONFIG)?;
        let hosts = either("hosts", self.hosts, file.hosts)?;
        let hosts = if hosts.is_empty() {
            vec!["unix:///run/davit/davit.sock".into()]
        } else {
            hosts
        };
        let mut runtimes = BTreeMap::from([(OWN_RUNTIME.to_owned(), PathBuf::new())]);
        runtimes.extend(file.runtimes.into_iter().map(|(name, runtime)| (name, runtime.path)));
        for text in self.add_runtimes {
            let pair = text
                .split_once('=')
                .filter(|(name, path)| !name.is_empty() && path.starts_with('/'));
            let (name, path) = pair.with_context(|| format!("--add-runtime {text:?}: expected NAME=/PATH"))?;
            runtimes.insert(name.into(), path.into());
        }
        let default_runtime = either("default-runtime", self.default_runtime, file.default_runtime)?;
        let default_runtime = default_runtime.unwrap_or_else(|| OWN_RUNTIME.into());
        if !runtimes.contains_key(&default_runtime) {
            let known: Vec<&str> = runtimes.keys().map(String::as_str).collect();
            bail!("default-runtime {default_runtime:?} is not one of {}", known.join(", "));
        }
        let debug = self.debug || file.debug.unwrap_or(false);
        let log_level = either("log-level", self.log_level, file.log_level)?;
        Ok(Options {
            hosts: hosts
                .iter()
                .map(|host| socket_path(host))
                .collect::<anyhow::Result<_>>()?,
            data_root: absolute(either("data-root", self.data_root, file.data_root)?, "/var/lib/davit")?,
            exec_root: absolute(either("exec-root", self.exec_root, file.exec_root)?, "/run/davit")?,
            containerd: either("containerd", self.containerd, file.containerd)?,
            log_level: if debug {
                "debug".into()
            } else {
                log_level.unwrap_or_else(|| "info".into())
            },
            group: either("group", self.group, file.group)?,
            bridge: either("bridge", self.bridge, file.bridge)?.unwrap_or_else(|| "davit0".into()),
            bip: either("bip", self.bip, file.bip)?.unwrap_or_else(default_subnet),
            pidfile: either("pidfile", self.pidfile, file.pidfile)?,
            insecure_registries: either(
                "insecure-registries",
                self.insecure_registries,
                file.insecure_registries,
            )?,
            default_runtime,
            runtimes,
            shim: self.shim,
        })
    }
}

/// Docker's default bridge is 172.17.0.1/16; ours stands beside it on the same machine.
fn default_subnet() -> Ipv4Net {
    "172.30.0.1/16".parse().expect("a well-formed subnet")
}

fn either<T: Default + PartialEq>(name: &str, flag: T, file: T) -> anyhow::Result<T> {
    let unset = T::default();
    match (flag == unset, file == unset) {
        (false, false) => bail!("{name} is set on the command line and in the configuration file"),
        (true, _) => Ok(file),
        (false, true) => Ok(flag),
    }
}

fn socket_path(host: &str) -> anyhow::Result<PathBuf> {
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        Some(_) => bail!("host {host:?}: expected an absolute path after unix://"),
        None => bail!("host {host:?}: only unix:///path is supported yet"),
    }
}

fn absolute(path: Option<PathBuf>, default: &str) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path.unwrap_or_else(|| default.into()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> anyhow::Result<Options> {
        let all = ["davitd", "--config-file", "/dev/null"].iter().chain(arguments);
        Arguments::try_parse_from(all)?.into_options()
    }

    #[test]
    fn defaults_are_the_documented_places() {
        let options = options(&[]).unwrap();
        assert_eq!(options.hosts, [PathBuf::from("/run/davit/davit.sock")]);
        assert_eq!(options.data_root, PathBuf::from("/var/lib/davit"));
        assert_eq!(options.default_runtime, OWN_RUNTIME);
    }

    #[test]
    fn bad_values_and_unknown_flags_are_errors() {
        for bad in [
            &["--nope"][..],
            &["-H", "tcp://127.0.0.1:1"],
            &["-H", "unix://relative"],
            &["--bip", "nope"],
            &["--log-level", "loud"],
            &["--add-runtime", "crun"],
            &["--default-runtime", "nope"],
        ] {
            assert!(options(bad).is_err(), "{bad:?}");
        }
    }
}
