//! `user[:group]` against the container's own /etc/passwd and /etc/group. No NSS: the files are the container's.

use crate::error::SpecError;

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups, the primary one among them, as runc sets them.
    pub additional_gids: Vec<u32>,
    /// Home folder; `/` where passwd has none.
    pub home: String,
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Resolves what `--user` and `--group-add` say. A number is never looked up as a name, so that nobody whose *name* is a
/// number can change what `--user 0` means.
pub fn resolve(wanted: &str, group_add: &[String], passwd: &str, group: &str) -> Result<Identity, SpecError> {
    let (user, primary) = match wanted.split_once(':') {
        Some((user, primary)) => (user, Some(primary)),
        None => (wanted, None),
    };
    let line = find_user(user, passwd)?;
    let number = number(user).unwrap_or(0);
    let mut identity = match &line {
        Some(line) => Identity {
            uid: line.uid,
            gid: line.gid,
            additional_gids: Vec::new(),
            home: line.home.into(),
        },
        None => Identity {
            uid: number,
            ..Identity::default()
        },
    };
    let explicit = primary.filter(|primary| !primary.is_empty());
    if let Some(primary) = explicit {
        identity.gid = find_group(primary, group)?;
    }
    identity.additional_gids.push(identity.gid);
    if let (Some(line), None) = (&line, explicit) {
        let member = |entry: &GroupLine<'_>| entry.members.split(',').any(|member| member == line.name);
        identity
            .additional_gids
            .extend(group_lines(group).filter(member).map(|entry| entry.gid));
    }
    for name in group_add {
        identity.additional_gids.push(find_group(name, group)?);
    }
    let mut seen = std::collections::HashSet::new();
    identity.additional_gids.retain(|gid| seen.insert(*gid));
    if identity.home.is_empty() {
        identity.home = "/".into();
    }
    Ok(identity)
}

fn find_user<'a>(user: &str, passwd: &'a str) -> Result<Option<PasswdLine<'a>>, SpecError> {
    let mut lines = passwd_lines(passwd);
    match number(if user.is_empty() { "0" } else { user }) {
        Some(uid) => Ok(lines.find(|line| line.uid == uid)),
        None if user.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(SpecError::invalid("uids and gids must be in range 0-2147483647"))
        }
        None => match lines.find(|line| line.name == user) {
            Some(line) => Ok(Some(line)),
            None => Err(SpecError::UserNotFound(user.into())),
        },
    }
}

fn find_group(name: &str, group: &str) -> Result<u32, SpecError> {
    if let Some(gid) = number(name) {
        return Ok(gid);
    }
    let found = group_lines(group).find(|line| line.name == name);
    found
        .map(|line| line.gid)
        .ok_or_else(|| SpecError::GroupNotFound(name.into()))
}

/// A uid or gid that fits the kernel's signed view of it.
fn number(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|number| *number <= i32::MAX as u32)
}

fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdLine { name, uid, gid, home })
    })
}

fn group_lines(text: &str) -> impl Iterator<Item = GroupLine<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = number(fields.nth(1)?)?;
        let members = fields.next().unwrap_or_default();
        Some(GroupLine { name, gid, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n0:x:1234:1234::/evil:\nbob:x:1000:1000::/home/bob:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,bob\nbob:x:1000:\nstaff:x:50:bob\n";

    fn check(wanted: &str, expected: (u32, u32, &[u32], &str)) {
        let identity = resolve(wanted, &[], PASSWD, GROUP).unwrap();
        let seen = (
            identity.uid,
            identity.gid,
            &identity.additional_gids[..],
            &identity.home[..],
        );
        assert_eq!(seen, expected, "{wanted:?}");
    }

    #[test]
    fn names_and_numbers_resolve_as_docker_resolves_them() {
        check("", (0, 0, &[0, 10], "/root"));
        check("root", (0, 0, &[0, 10], "/root"));
        check("bob", (1000, 1000, &[1000, 10, 50], "/home/bob"));
        check("1000", (1000, 1000, &[1000, 10, 50], "/home/bob"));
        check("bob:wheel", (1000, 10, &[10], "/home/bob"));
        check("77", (77, 0, &[0], "/"));
        check("77:88", (77, 88, &[88], "/"));
    }

    #[test]
    fn a_user_whose_name_is_a_number_cannot_alter_the_uid() {
        check("0", (0, 0, &[0, 10], "/root"));
    }

    #[test]
    fn unknown_names_are_refused_in_dockers_words() {
        let error = resolve("eve", &[], PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(error, "unable to find user eve: no matching entries in passwd file");
        let error = resolve("bob", &["nope".into()], PASSWD, GROUP).unwrap_err().to_string();
        assert_eq!(error, "unable to find group nope: no matching entries in group file");
        assert!(resolve("4294967296", &[], PASSWD, GROUP).is_err());
    }
}
