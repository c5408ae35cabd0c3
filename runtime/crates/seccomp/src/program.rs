//! A compiled filter: instructions and the flags to load them with.

use std::os::fd::OwnedFd;

use davit_sys::seccomp::{self, FLAG_NEW_LISTENER, Instruction, MAX_INSTRUCTIONS};

use crate::SeccompError;

/// Bytes of one instruction in the kernel's layout.
pub(crate) const INSTRUCTION_SIZE: usize = 8;

const EINVAL: i32 = 22;

/// A filter ready to be loaded.
#[derive(Clone)]
pub struct Program {
    flags: u32,
    instructions: Vec<Instruction>,
}

impl Program {
    pub(crate) fn new(flags: u32, instructions: Vec<Instruction>) -> Result<Self, SeccompError> {
        if instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
            return Err(SeccompError::TooLong(instructions.len()));
        }
        Ok(Program { flags, instructions })
    }

    /// Puts the filter on the calling thread, for good. Returns the agent's end of one that [notifies](Self::notifies).
    ///
    /// Needs `no_new_privs` or CAP_SYS_ADMIN. Call it last: the filter binds the caller too.
    pub fn load(&self) -> Result<Option<OwnedFd>, SeccompError> {
        seccomp::set_filter(self.flags, &self.instructions).map_err(|err| match err.raw_os_error() {
            Some(EINVAL) if self.notifies() => SeccompError::NotifyUnsupported,
            _ => SeccompError::Load(err),
        })
    }

    /// Whether an agent is asked about some calls.
    pub fn notifies(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }

    /// The `SECCOMP_FILTER_FLAG_*` bits it is loaded with.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Those of the flags that are the profile's.
    pub fn options(&self) -> u32 {
        self.flags & !FLAG_NEW_LISTENER
    }

    /// The number of instructions.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Never: a program has at least one instruction.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The instructions in the kernel's layout (`struct sock_filter[]`, native byte order).
    pub fn bytes(&self) -> Vec<u8> {
        self.instructions.iter().flat_map(encode).collect()
    }

    #[cfg(test)]
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("flags", &self.flags)
            .field("instructions", &self.len())
            .finish()
    }
}

/// One instruction with the jumps of a conditional.
pub(crate) fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// The reverse of [`Program::bytes`]; a trailing partial instruction is `None`.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Instruction>> {
    let (whole, []) = bytes.as_chunks::<INSTRUCTION_SIZE>() else {
        return None;
    };
    Some(
        whole
            .iter()
            .map(|b| {
                let code = u16::from_ne_bytes([b[0], b[1]]);
                instruction(code, b[2], b[3], u32::from_ne_bytes([b[4], b[5], b[6], b[7]]))
            })
            .collect(),
    )
}

fn encode(i: &Instruction) -> [u8; INSTRUCTION_SIZE] {
    let (code, k) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
    [code[0], code[1], i.jt, i.jf, k[0], k[1], k[2], k[3]]
}
