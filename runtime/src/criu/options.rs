//! What `checkpoint` and `restore` have in common, read from the command line once.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{fd::AsRawFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use davit_criu::{CriuCgMode, CriuNetworkLockMethod, CriuOpts};
use davit_spec::NamespaceKind;

use crate::{
    cli,
    errno::{Attempt, CallError},
};

/// Where an image is when nothing is said.
const DEFAULT_IMAGE: &str = "checkpoint";
/// An annotation that names criu's configuration file, or none where it is empty.
const CONFIG_ANNOTATION: &str = "org.criu.config";
/// The name that the annotation's and runc's users know.
const CONFIG_FILE: &str = "/etc/criu/runc.conf";
/// Where `criu lazy-pages` listens, in the working folder.
const PAGES_SOCKET: &str = "lazy-pages.socket";
/// How long its start may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// criu's level of everything that can help; the log is a file that is read only when something went wrong.
const LOG_LEVEL: i32 = 4;

/// Options of both commands.
#[derive(Debug)]
pub struct Options {
    /// The image's folder.
    pub images: PathBuf,
    work: Option<PathBuf>,
    tcp_established: bool,
    ext_unix_sk: bool,
    shell_job: bool,
    /// Memory pages are moved when they are used.
    pub lazy_pages: bool,
    file_locks: bool,
    auto_dedup: bool,
    cgroups: CriuCgMode,
    network_lock: Option<CriuNetworkLockMethod>,
}

impl Options {
    /// Reads the command line; the text of an error is for the user.
    pub fn read(args: &cli::Criu) -> Result<Self, String> {
        // A network is not ours to restore: whoever made its devices makes them again. So the one namespace that can
        // be named is treated as named in any case, as by runc.
        if let Some(other) = args.empty_ns.iter().find(|name| *name != "network") {
            return Err(format!("namespace {other:?} is not supported"));
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(|err| format!("{}: {err}", path.display()));
        Ok(Options {
            images: absolute(args.image_path.as_ref().unwrap_or(&DEFAULT_IMAGE.into()))?,
            work: args.work_path.as_ref().map(absolute).transpose()?,
            tcp_established: args.tcp_established,
            ext_unix_sk: args.ext_unix_sk,
            shell_job: args.shell_job,
            lazy_pages: args.lazy_pages,
            file_locks: args.file_locks,
            auto_dedup: args.auto_dedup,
            cgroups: cgroup_mode(args.manage_cgroups_mode.as_deref())?,
            network_lock: args.network_lock.as_deref().map(network_lock).transpose()?,
        })
    }

    /// Where criu's log is.
    pub fn log_folder(&self) -> &Path {
        self.work.as_ref().unwrap_or(&self.images)
    }

    /// Opens the folders as the process `viewer` sees them: criu makes mounts below its working folder, which it can
    /// only where that is of its own mount namespace.
    pub fn open(&self, viewer: i32) -> Result<Folders, CallError> {
        let open = |path: &Path| seen_by(viewer, path).attempt("open", path.display());
        if let Some(work) = &self.work {
            make_folder(work)?;
        }
        Ok(Folders {
            images: open(&self.images)?,
            work: self.work.as_deref().map(open).transpose()?,
        })
    }

    /// Waits for whoever is to bring the pages of `--lazy-pages`: criu itself gives up where the socket is not there yet.
    pub fn wait_for_pages(&self) {
        let socket = self.log_folder().join(PAGES_SOCKET);
        let end = Instant::now() + PATIENCE;
        while self.lazy_pages && !socket.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds to a request what both commands have in common. `log` is a file's name.
    pub fn add_to(&self, opts: &mut CriuOpts, folders: &Folders, annotations: &Annotations, log: &str) {
        opts.images_dir_fd = folders.images.as_raw_fd();
        opts.work_dir_fd = folders.work.as_ref().map(AsRawFd::as_raw_fd);
        opts.log_level = Some(LOG_LEVEL);
        opts.log_file = Some(log.into());
        opts.config_file = config_file(annotations);
        opts.manage_cgroups = Some(true);
        opts.manage_cgroups_mode = Some(self.cgroups as i32);
        opts.notify_scripts = Some(true);
        opts.tcp_established = Some(self.tcp_established);
        opts.ext_unix_sk = Some(self.ext_unix_sk);
        opts.shell_job = Some(self.shell_job);
        opts.lazy_pages = Some(self.lazy_pages);
        opts.file_locks = Some(self.file_locks);
        opts.auto_dedup = Some(self.auto_dedup);
        opts.empty_ns = Some(NamespaceKind::Network.clone_flag() as u32);
        opts.orphan_pts_master = Some(true);
        opts.network_lock = self.network_lock.map(|method| method as i32);
    }
}

/// A config's annotations.
pub type Annotations = std::collections::BTreeMap<String, String>;

/// The folders of an image, open: criu reaches them through our descriptors.
#[derive(Debug)]
pub struct Folders {
    images: File,
    work: Option<File>,
}

/// Opens a folder as another process sees it. Links are followed before: an absolute one would lead out of the root of
/// the other, back into ours.
fn seen_by(viewer: i32, path: &Path) -> io::Result<File> {
    let ours = File::open(path)?;
    let real = fs::read_link(format!("/proc/self/fd/{}", ours.as_raw_fd()))?;
    let inside = real.strip_prefix("/").unwrap_or(&real);
    File::open(Path::new("/proc").join(viewer.to_string()).join("root").join(inside))
}

/// Makes a folder for root alone where it is missing: an image holds a program's memory.
pub fn make_folder(path: &Path) -> Result<(), CallError> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .attempt("make", path.display())
}

/// Checks `--parent-path`, which criu takes relative to the image's folder.
pub fn check_parent(images: &Path, parent: &Path) -> Result<(), String> {
    if parent.is_absolute() {
        return Err("--parent-path must be relative".into());
    }
    let real = images.join(parent);
    let failure = match real.metadata() {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => io::Error::from(io::ErrorKind::NotADirectory),
        Err(err) => err,
    };
    Err(format!("invalid --parent-path: stat {}: {failure}", real.display()))
}

/// criu passes over a file that does not exist; what is in it overrides what we ask for.
fn config_file(annotations: &Annotations) -> Option<String> {
    match annotations.get(CONFIG_ANNOTATION) {
        None => Some(CONFIG_FILE.into()),
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.clone()),
    }
}

fn cgroup_mode(text: Option<&str>) -> Result<CriuCgMode, String> {
    match text.unwrap_or_default() {
        "" => Ok(CriuCgMode::Default),
        "soft" => Ok(CriuCgMode::Soft),
        "full" => Ok(CriuCgMode::Full),
        "strict" => Ok(CriuCgMode::Strict),
        "ignore" => Ok(CriuCgMode::Ignore),
        _ => Err("invalid manage-cgroups-mode value".into()),
    }
}

fn network_lock(text: &str) -> Result<CriuNetworkLockMethod, String> {
    match text {
        "iptables" => Ok(CriuNetworkLockMethod::Iptables),
        "nftables" => Ok(CriuNetworkLockMethod::Nftables),
        "skip" => Ok(CriuNetworkLockMethod::Skip),
        _ => Err(format!(
            "invalid --network-lock value {text:?}: must be iptables, nftables or skip"
        )),
    }
}

/// Address and port of `--page-server`.
pub fn page_server(text: &str) -> Result<(String, i32), String> {
    let usage = || "Use --page-server ADDRESS:PORT to specify page server".to_owned();
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let is_bracketed = address.starts_with('[') && address.ends_with(']');
    let address = match is_bracketed {
        true => &address[1..address.len() - 1],
        false => address,
    };
    if address.is_empty() || port.is_empty() || (!is_bracketed && address.contains(':')) {
        return Err(usage());
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((address.into(), port.into())),
        _ => Err("Invalid port number".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn options(flags: &[&str], images: &Path) -> Options {
        let images = images.to_str().unwrap();
        let args = [&["runtime", "checkpoint", "--image-path", images], flags, &["id"]].concat();
        match cli::Cli::try_parse_from(args).unwrap().command {
            cli::Command::Checkpoint(args) => Options::read(&args.criu).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What is asked of criu, but for the numbers of descriptors.
    fn request(flags: &[&str]) -> CriuOpts {
        let folder = tempfile::tempdir().unwrap();
        let options = options(flags, folder.path());
        let folders = options.open(std::process::id() as i32).unwrap();
        let mut opts = CriuOpts::default();
        options.add_to(&mut opts, &folders, &Annotations::new(), "dump.log");
        opts.images_dir_fd = -1;
        opts
    }

    #[test]
    fn each_flag_is_a_field_of_the_request() {
        type Field = fn(&mut CriuOpts);
        let cases: [(&[&str], Field); 14] = [
            (&["--tcp-established"], |opts| opts.tcp_established = Some(true)),
            (&["--ext-unix-sk"], |opts| opts.ext_unix_sk = Some(true)),
            (&["--shell-job"], |opts| opts.shell_job = Some(true)),
            (&["--lazy-pages"], |opts| opts.lazy_pages = Some(true)),
            (&["--file-locks"], |opts| opts.file_locks = Some(true)),
            (&["--auto-dedup"], |opts| opts.auto_dedup = Some(true)),
            // It is so without being named, too.
            (&["--empty-ns", "network"], |opts| opts.empty_ns = Some(0x4000_0000)),
            // The numbers are criu's (rpc.proto).
            (&["--manage-cgroups-mode", "ignore"], |opts| {
                opts.manage_cgroups_mode = Some(0)
            }),
            (&["--manage-cgroups-mode", "soft"], |opts| {
                opts.manage_cgroups_mode = Some(3)
            }),
            (&["--manage-cgroups-mode", "full"], |opts| {
                opts.manage_cgroups_mode = Some(4)
            }),
            (&["--manage-cgroups-mode", "strict"], |opts| {
                opts.manage_cgroups_mode = Some(5)
            }),
            (&["--network-lock", "iptables"], |opts| opts.network_lock = Some(1)),
            (&["--network-lock", "nftables"], |opts| opts.network_lock = Some(2)),
            (&["--network-lock", "skip"], |opts| opts.network_lock = Some(3)),
        ];
        let plain = request(&[]);
        assert_eq!(
            (plain.log_file.as_deref(), plain.log_level),
            (Some("dump.log"), Some(4))
        );
        assert_eq!((plain.manage_cgroups, plain.network_lock), (Some(true), None));
        for (flags, field) in cases {
            let mut expected = plain.clone();
            field(&mut expected);
            assert_eq!(request(flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn the_folders_of_the_command_line_are_open_in_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let work = folder.path().join("work");
        let options = options(&["--work-path", work.to_str().unwrap()], folder.path());
        let folders = options.open(std::process::id() as i32).unwrap();
        let mut opts = CriuOpts::default();
        options.add_to(&mut opts, &folders, &Annotations::new(), "dump.log");
        let behind = |fd: i32| fs::read_link(format!("/proc/self/fd/{fd}")).unwrap();
        assert_eq!(behind(opts.images_dir_fd), folder.path());
        assert_eq!(behind(opts.work_dir_fd.unwrap()), work);
        assert_eq!(options.log_folder(), work);
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:27"), Ok(("10.0.0.1".into(), 27)));
        assert_eq!(page_server("[::1]:65535"), Ok(("::1".into(), 65535)));
        for text in ["", "x", ":1", "a:", "::1", "a:b:1"] {
            assert!(
                page_server(text).unwrap_err().starts_with("Use --page-server"),
                "{text}"
            );
        }
        for text in ["a:x", "a:0", "a:65536", "a:-1"] {
            assert_eq!(page_server(text).unwrap_err(), "Invalid port number", "{text}");
        }
    }

    #[test]
    fn an_annotation_names_the_configuration_file_or_none() {
        let with = |value: &str| config_file(&[(CONFIG_ANNOTATION.to_owned(), value.to_owned())].into());
        assert_eq!(config_file(&Annotations::new()).as_deref(), Some("/etc/criu/runc.conf"));
        assert_eq!(with("/x").as_deref(), Some("/x"));
        assert_eq!(with(""), None);
    }

    #[test]
    fn a_parent_is_a_folder_beside_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::create_dir(&image).unwrap();
        std::fs::create_dir(folder.path().join("parent")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(check_parent(&image, Path::new("../parent")), Ok(()));
        let refused = |parent: &Path| check_parent(&image, parent).unwrap_err();
        assert_eq!(refused(&folder.path().join("parent")), "--parent-path must be relative");
        assert!(refused(Path::new("../file")).contains("invalid --parent-path"));
        assert!(refused(Path::new("../none")).contains("invalid --parent-path"));
    }
}
