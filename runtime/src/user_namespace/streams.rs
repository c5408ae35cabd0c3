//! The runtime's pipes as the standard streams of a program in a user namespace.

use davit_spec::{User, id_mappings_from_table, to_host};
use rustix::fs::{Gid, Uid, fchown};

use crate::{procfs::ProcFs, program::pipes::ProgramEnds};

/// Gives them to the program's user, who could else not open them anew through /dev/stdout; from within the user
/// namespace nobody can, since their owner is not mapped there. `pid` is a process in it.
///
/// This is a courtesy: the descriptors themselves work whoever owns them, so no failure is one of the container.
pub fn hand_over(streams: &ProgramEnds, pid: i32, user: &User) {
    let Ok(proc) = ProcFs::open() else { return };
    let host_id = |map: &str, id| {
        let table = proc.read(&format!("{pid}/{map}")).ok()?;
        to_host(&id_mappings_from_table(&table), id)
    };
    let (Some(uid), Some(gid)) = (host_id("uid_map", user.uid), host_id("gid_map", user.gid)) else {
        return;
    };
    for stream in streams.each() {
        let _ = fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    }
}
