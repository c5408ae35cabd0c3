//! The instructions in front of libseccomp's program.
//!
//! They do two things, per architecture of the profile: answer for the system calls that only our own table can number,
//! and answer ENOSYS for those newer than everything the profile names. Without the second a profile that is older than
//! the C library turns a probe for a new system call into EPERM, and the library does not fall back to the old one.
//! The ENOSYS answer is only given where the default refuses; a profile that allows by default is left alone.

use std::collections::BTreeMap;

use davit_sys::seccomp::Instruction;
use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::Arch;

use crate::{program::instruction, syscalls};

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

const X32_BIT: u32 = 0x4000_0000;
/// The number a tracer puts in place of a call it skips.
const NO_CALL: u32 = u32::MAX;

const ANSWER_ERRNO: u32 = 0x0005_0000;
const ANSWER_TRACE: u32 = 0x7ff0_0000;
const ANSWER_LOG: u32 = 0x7ffc_0000;
const ANSWER_ALLOW: u32 = 0x7fff_0000;
const ANSWER_MASK: u32 = 0xffff_0000;
const ENOSYS: u32 = 38;

/// The architectures of a filter that have the common numbers for new system calls.
pub(crate) struct Architectures(Vec<Target>);

#[derive(Clone, Copy, PartialEq)]
struct Target {
    /// What the kernel puts into `seccomp_data.arch`.
    audit: u32,
    scmp: ScmpArch,
}

impl Architectures {
    /// The architecture of this program, which is part of every filter.
    pub(crate) fn native() -> Self {
        let native = match ScmpArch::native() {
            ScmpArch::X8664 => Some(Arch::ScmpArchX86_64),
            ScmpArch::Aarch64 => Some(Arch::ScmpArchAarch64),
            ScmpArch::Riscv64 => Some(Arch::ScmpArchRiscv64),
            _ => None,
        };
        Architectures(native.and_then(target).into_iter().collect())
    }

    pub(crate) fn add(&mut self, arch: Arch) {
        if let Some(target) = target(arch).filter(|target| !self.0.contains(target)) {
            self.0.push(target);
        }
    }
}

fn target(arch: Arch) -> Option<Target> {
    let (audit, scmp) = match arch {
        Arch::ScmpArchX86_64 => (0xc000_003e, ScmpArch::X8664),
        Arch::ScmpArchX32 => (0xc000_003e, ScmpArch::X32),
        Arch::ScmpArchX86 => (0x4000_0003, ScmpArch::X86),
        Arch::ScmpArchAarch64 => (0xc000_00b7, ScmpArch::Aarch64),
        Arch::ScmpArchArm => (0x4000_0028, ScmpArch::Arm),
        Arch::ScmpArchRiscv64 => (0xc000_00f3, ScmpArch::Riscv64),
        _ => return None,
    };
    Some(Target { audit, scmp })
}

/// Collects what a profile says about new system calls, then writes it down.
pub(crate) struct Prologue {
    targets: Vec<Target>,
    default: u32,
    /// The highest number the profile names, per target; none where it names no call of it.
    highest: Vec<Option<u32>>,
    answers: BTreeMap<u32, u32>,
}

impl Prologue {
    pub(crate) fn new(architectures: Architectures, default: u32) -> Self {
        let highest = vec![None; architectures.0.len()];
        Prologue {
            targets: architectures.0,
            default,
            highest,
            answers: BTreeMap::new(),
        }
    }

    /// The profile names this system call, whatever it says about it.
    pub(crate) fn saw(&mut self, name: &str) {
        for (target, highest) in self.targets.iter().zip(&mut self.highest) {
            if let Some(number) = number_on(name, target.scmp) {
                *highest = Some(number).max(*highest);
            }
        }
    }

    /// The answer for a system call that libseccomp cannot number; the first of several holds.
    pub(crate) fn answer(&mut self, number: u32, answer: u32) {
        self.answers.entry(number).or_insert(answer);
    }

    /// The instructions; where nothing is to be said they are none. Control leaves them at their end.
    pub(crate) fn instructions(&self) -> Vec<Instruction> {
        if self.answers.is_empty() && !self.refuses_newer() {
            return Vec::new();
        }
        let mut code = vec![load(OFFSET_ARCH)];
        let mut audits: Vec<u32> = self.targets.iter().map(|target| target.audit).collect();
        audits.dedup();
        for audit in audits {
            let block = self.block(audit);
            // Another architecture steps over the block; `ja` because a block may be longer than a branch reaches.
            code.push(instruction(JUMP_EQUAL, 1, 0, audit));
            code.push(instruction(JUMP, 0, 0, block.len() as u32));
            code.extend(block);
        }
        code
    }

    /// What is said for one value of `seccomp_data.arch`; ends with the architecture loaded again.
    fn block(&self, audit: u32) -> Vec<Instruction> {
        let mut code = vec![load(OFFSET_NUMBER)];
        for (target, highest) in self
            .targets
            .iter()
            .zip(&self.highest)
            .filter(|(target, _)| target.audit == audit)
        {
            let bit = if target.scmp == ScmpArch::X32 { X32_BIT } else { 0 };
            for (number, answer) in &self.answers {
                code.push(instruction(JUMP_EQUAL, 0, 1, bit | number));
                code.push(instruction(RETURN, 0, 0, *answer));
            }
            if let Some(highest) = highest.filter(|_| self.refuses_newer()) {
                code.extend(newer(bit, highest));
            }
        }
        code.push(load(OFFSET_ARCH));
        code
    }

    /// A tracer answers for new calls itself, and a permissive default permits them.
    fn refuses_newer(&self) -> bool {
        let permissive = [ANSWER_TRACE, ANSWER_LOG, ANSWER_ALLOW].contains(&(self.default & ANSWER_MASK));
        !permissive && self.default != (ANSWER_ERRNO | ENOSYS)
    }
}

/// ENOSYS for numbers above `highest`, but within the number space that `bit` stands for.
fn newer(bit: u32, highest: u32) -> [Instruction; 3] {
    // Below bit 30 end the common numbers; from there to the top x32's, but for the "no call" of a tracer.
    let end = if bit == 0 { X32_BIT } else { NO_CALL };
    [
        instruction(JUMP_GREATER, 0, 2, bit | highest),
        instruction(JUMP_GREATER_EQUAL, 1, 0, end),
        instruction(RETURN, 0, 0, ANSWER_ERRNO | ENOSYS),
    ]
}

fn number_on(name: &str, arch: ScmpArch) -> Option<u32> {
    if let Some(number) = syscalls::number(name) {
        return Some(number);
    }
    let raw = ScmpSyscall::from_name_by_arch(name, arch).ok()?.as_raw_syscall();
    // A negative number stands for a call that this architecture does not have.
    u32::try_from(raw).ok().map(|number| number & !X32_BIT)
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD_WORD, 0, 0, offset)
}
