//! The five capability sets of the program.

use davit_spec::{CAPABILITY_NAMES, Capabilities};
use rustix::{
    io::Errno as Kernel,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, configure_capability_in_ambient_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

use crate::{
    errno::{Attempt, CallError},
    log,
};

/// Says which capabilities the program will not get though they are asked for.
pub fn warn(wanted: &Capabilities) {
    let unknown = wanted.unknown();
    if !unknown.is_empty() {
        log::warn(&format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        ));
    }
    let lost = wanted.ambient.bits & !(wanted.permitted.bits & wanted.inheritable.bits);
    for (number, name) in CAPABILITY_NAMES.iter().enumerate() {
        if lost & (1 << number) != 0 {
            log::warn(&format!(
                "can't raise ambient capability {name}: it is not permitted and inheritable"
            ));
        }
    }
}

/// Takes out of the bounding set what the program may never get; all of it stays where nothing is said. Needs the
/// privileges that [`apply`] gives up.
pub fn limit_bounding_set(wanted: Option<&Capabilities>) -> Result<(), CallError> {
    let Some(keep) = wanted.map(|sets| sets.bounding.bits) else {
        return Ok(());
    };
    for number in 0..u64::BITS {
        if keep & (1 << number) != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Kernel::INVAL) if number as usize >= CAPABILITY_NAMES.len() => break,
            Err(Kernel::INVAL) => {}
            Err(errno) => return Err(errno).attempt("drop from bounding set", number),
        }
    }
    Ok(())
}

/// Sets the other sets, as far as the process has the capabilities at all. Where nothing is said, the program keeps what
/// its user has: runc leaves them alone, and its users' configs rely on that.
///
/// `keep_admin` keeps CAP_SYS_ADMIN in force until execve, which a seccomp filter without no_new_privs needs. The
/// program does not get it: execve computes the new sets from the bounding, inheritable and ambient sets alone.
pub fn apply(wanted: Option<&Capabilities>, keep_admin: bool) -> Result<(), CallError> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    let had = capabilities(None).attempt("get", "capabilities")?.permitted;
    let bits = |list: u64| CapabilitySet::from_bits_retain(list) & had;
    let admin = if keep_admin {
        CapabilitySet::SYS_ADMIN & had
    } else {
        CapabilitySet::empty()
    };
    let permitted = bits(wanted.permitted.bits);
    let inheritable = bits(wanted.inheritable.bits);
    let sets = CapabilitySets {
        effective: (bits(wanted.effective.bits) & permitted) | admin,
        permitted: permitted | admin,
        inheritable,
    };
    set_capabilities(None, sets).attempt("set", "capabilities")?;
    clear_ambient_capability_set().attempt("clear", "ambient capabilities")?;
    // The kernel takes an ambient capability only from both of these sets.
    for one in (bits(wanted.ambient.bits) & permitted & inheritable).iter() {
        configure_capability_in_ambient_set(one, true).attempt("raise ambient capability", format_args!("{one:?}"))?;
    }
    Ok(())
}
