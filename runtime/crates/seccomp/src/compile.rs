//! From a profile to a program, with runc's reading of the profile.
//!
//! Names that neither libseccomp nor our table knows are skipped, rules that repeat the default action are dropped, and
//! a rule with two conditions on one argument becomes one rule per condition (any may match). TSYNC says nothing to
//! a process with one thread and WAIT_KILLABLE_RECV nothing to a filter without notification: both are accepted.

use std::{
    fs::File,
    io::{Read, Seek},
    os::fd::OwnedFd,
};

use davit_sys::seccomp::{FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_WAIT_KILLABLE_RECV, Instruction};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::{
    Program, SeccompError,
    program::decode,
    prologue::{self, Prologue},
    syscalls,
};

/// Profiles with more names than this are compiled to a binary search; libseccomp's tree has trouble with tiny ones.
const SEARCH_TREE_FROM: usize = 32;
const EPERM: u32 = 1;
const MAX_ARGUMENTS: usize = 6;

/// Compiles `profile` for the running machine.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    let default = Action::new(profile.default_action(), profile.default_errno_ret())?;
    let notifies = refuse_unanswerable(profile)?;
    let mut context = ScmpFilterContext::new(default.scmp)?;
    let mut architectures = prologue::Architectures::native();
    for arch in profile.architectures().iter().flatten() {
        context
            .add_arch(scmp_arch(*arch)?)
            .map_err(|_| SeccompError::UnsupportedArch(*arch))?;
        architectures.add(*arch);
    }

    let rules = profile.syscalls().as_deref().unwrap_or_default();
    if rules.iter().map(|rule| rule.names().len()).sum::<usize>() > SEARCH_TREE_FROM {
        context.set_ctl_optimize(2)?;
    }
    let mut prologue = Prologue::new(architectures, default.answer);
    for rule in rules {
        add_rule(&mut context, &mut prologue, rule, default)?;
    }

    let mut instructions = prologue.instructions();
    instructions.extend(export(&context)?);
    Program::new(flags(profile, notifies), instructions)
}

/// Whether the profile asks an agent. The agent's end of the filter is handed over by a write when the filter is in
/// force: a profile that asks for leave to write could never be answered.
fn refuse_unanswerable(profile: &LinuxSeccomp) -> Result<bool, SeccompError> {
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(SeccompError::NotifyDefault);
    }
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let mut asking = rules
        .iter()
        .filter(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
        .peekable();
    let notifies = asking.peek().is_some();
    match asking.any(|rule| rule.names().iter().any(|name| name == "write")) {
        true => Err(SeccompError::NotifyWrite),
        false => Ok(notifies),
    }
}

/// An action in libseccomp's words and as the 32 bits a filter answers.
#[derive(Clone, Copy, PartialEq)]
struct Action {
    scmp: ScmpAction,
    answer: u32,
}

impl Action {
    fn new(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Self, SeccompError> {
        let data =
            u16::try_from(errno.unwrap_or(EPERM)).map_err(|_| SeccompError::ErrnoRange(errno.unwrap_or(EPERM)))?;
        let scmp = match action {
            LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
            LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
            LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
            LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(data.into()),
            LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(data),
            LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
            LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
            LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        };
        Ok(Action {
            scmp,
            answer: action.as_u32(Some(data.into())),
        })
    }
}

fn add_rule(
    context: &mut ScmpFilterContext,
    prologue: &mut Prologue,
    rule: &LinuxSyscall,
    default: Action,
) -> Result<(), SeccompError> {
    let action = Action::new(rule.action(), rule.errno_ret())?;
    let args = rule.args().as_deref().unwrap_or_default();
    for name in rule.names() {
        if name.is_empty() {
            return Err(SeccompError::EmptyName);
        }
        prologue.saw(name);
        if action == default {
            continue;
        }
        match ScmpSyscall::from_name(name) {
            Ok(call) => add_known(context, call, name, action.scmp, args)?,
            // Conditions on a system call that libseccomp cannot number: leave it to the default, as runc does.
            Err(_) if args.is_empty() => {
                if let Some(number) = syscalls::number(name) {
                    prologue.answer(number, action.answer);
                }
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn add_known(
    context: &mut ScmpFilterContext,
    call: ScmpSyscall,
    name: &str,
    action: ScmpAction,
    args: &[LinuxSeccompArg],
) -> Result<(), SeccompError> {
    let conditions = args
        .iter()
        .map(|arg| condition(name, arg))
        .collect::<Result<Vec<_>, _>>()?;
    let groups: Vec<&[ScmpArgCompare]> = match repeats_an_argument(args) {
        true => conditions.chunks(1).collect(),
        false => vec![&conditions],
    };
    for group in groups {
        context
            .add_rule_conditional(action, call, group)
            .map_err(|source| SeccompError::Rule {
                name: name.into(),
                source,
            })?;
    }
    Ok(())
}

fn repeats_an_argument(args: &[LinuxSeccompArg]) -> bool {
    args.iter()
        .enumerate()
        .any(|(at, arg)| args[..at].iter().any(|earlier| earlier.index() == arg.index()))
}

fn condition(name: &str, arg: &LinuxSeccompArg) -> Result<ScmpArgCompare, SeccompError> {
    if arg.index() >= MAX_ARGUMENTS {
        return Err(SeccompError::ArgumentIndex {
            name: name.into(),
            index: arg.index(),
        });
    }
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        // The profile's value is the mask, its second value what the masked argument must be.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or_default(),
        ),
    };
    Ok(ScmpArgCompare::new(arg.index() as u32, op, datum))
}

pub(crate) fn scmp_arch(arch: Arch) -> Result<ScmpArch, SeccompError> {
    Ok(match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        other => return Err(SeccompError::UnsupportedArch(other)),
    })
}

/// A profile that says nothing about flags leaves speculative store bypass on, as runc does: the mitigation costs more
/// than it protects in a process that is filtered anyway. An empty list of flags turns it off.
fn flags(profile: &LinuxSeccomp, notifies: bool) -> u32 {
    let listener = if notifies { FLAG_NEW_LISTENER } else { 0 };
    let Some(flags) = profile.flags() else {
        return listener | FLAG_SPEC_ALLOW;
    };
    flags.iter().fold(listener, |flags, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => flags | FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flags | FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => flags | FLAG_WAIT_KILLABLE_RECV,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            flags
        }
    })
}

fn export(context: &ScmpFilterContext) -> Result<Vec<Instruction>, SeccompError> {
    let fd: OwnedFd = memfd_create(c"seccomp", MemfdFlags::CLOEXEC).map_err(|err| SeccompError::Export(err.into()))?;
    context.export_bpf(&fd)?;
    let mut file = File::from(fd);
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .map_err(SeccompError::Export)?;
    decode(&bytes).ok_or_else(|| SeccompError::Export(std::io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests;
