//! `exec --cgroup`: a cgroup below the container's, for all controllers or for some.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

/// A cgroup that a process of the container cannot be put into.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubCgroupError {
    /// It would not be below the container's.
    #[error("bad sub cgroup path: {0} is not a sub cgroup path")]
    Outside(String),
    /// No hierarchy of that name.
    #[error("unknown controller {0} in sub cgroup path")]
    UnknownController(String),
    /// There is no such cgroup; runc's words, since tests and people know them.
    #[error(
        "unable to start container process: error adding pid to cgroups: adding pid to cgroup {0}/cgroup.procs: no such file or directory"
    )]
    Absent(String),
    /// A cgroup that hands controllers on, and so takes no processes.
    #[error(
        "unable to start container process: error adding pid of new process to cgroups: {0}/cgroup.procs: device or resource busy"
    )]
    Busy(String),
}

/// The container's directories, with those changed that `requests` name: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH`.
pub(super) fn paths(
    own: &BTreeMap<String, PathBuf>,
    requests: &[String],
) -> Result<BTreeMap<String, PathBuf>, SubCgroupError> {
    let mut paths = own.clone();
    for request in requests {
        match request.split_once(':') {
            None => own.keys().try_for_each(|name| change(&mut paths, own, name, request))?,
            Some((names, path)) => names
                .split(',')
                .try_for_each(|name| change(&mut paths, own, name, path))?,
        }
    }
    Ok(paths)
}

fn change(
    paths: &mut BTreeMap<String, PathBuf>,
    own: &BTreeMap<String, PathBuf>,
    name: &str,
    path: &str,
) -> Result<(), SubCgroupError> {
    let top = own
        .get(name)
        .ok_or_else(|| SubCgroupError::UnknownController(name.into()))?;
    let relative = Path::new(path.trim_start_matches('/'));
    let is_below = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_below {
        return Err(SubCgroupError::Outside(path.into()));
    }
    let directory = if relative.as_os_str().is_empty() {
        top.clone()
    } else {
        top.join(relative)
    };
    if !directory.is_dir() {
        return Err(SubCgroupError::Absent(directory.display().to_string()));
    }
    paths.insert(name.into(), directory);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (tempfile::TempDir, BTreeMap<String, PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("box/below")).unwrap();
        std::fs::create_dir_all(folder.path().join("box2")).unwrap();
        let top = folder.path().join("box");
        (
            folder,
            BTreeMap::from([("cpu".into(), top.clone()), ("memory".into(), top)]),
        )
    }

    #[test]
    fn a_request_names_some_controllers_or_all() {
        let (_folder, own) = own();
        let some = paths(&own, &["cpu:below".into()]).unwrap();
        assert!(some["cpu"].ends_with("box/below") && some["memory"].ends_with("box"));
        let all = paths(&own, &["/below".into()]).unwrap();
        assert!(all.values().all(|path| path.ends_with("box/below")));
        assert_eq!(paths(&own, &["/".into()]).unwrap(), own);
    }

    #[test]
    fn no_request_leads_out_of_the_containers_cgroup() {
        let (_folder, own) = own();
        for request in ["..", "../box2", "below/../../box2", "cpu:.."] {
            assert!(
                matches!(paths(&own, &[request.into()]), Err(SubCgroupError::Outside(_))),
                "{request}"
            );
        }
        assert!(matches!(
            paths(&own, &["none:/".into()]),
            Err(SubCgroupError::UnknownController(_))
        ));
        assert!(matches!(
            paths(&own, &["absent".into()]),
            Err(SubCgroupError::Absent(_))
        ));
    }
}
