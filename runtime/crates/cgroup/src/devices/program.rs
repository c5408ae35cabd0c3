//! A device list as an eBPF program, for cgroup v2.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { access_type, major, minor }` for every open and mknod of a
//! device; the low half of `access_type` is the kind, the high half the access. It answers 1 to permit. One block of
//! instructions per exception, each ending in an answer, then the default.

use davit_sys::bpf::Instruction;

use super::{Access, DeviceList, Devices, Kind};

const LOAD_WORD: u8 = 0x61;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT_IMMEDIATE: u8 = 0x74;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_IMMEDIATE: u8 = 0xb4;
const JUMP_NOT_EQUAL_IMMEDIATE: u8 = 0x55;
const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
const JUMP_EQUAL_IMMEDIATE: u8 = 0x15;
const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
/// The context at the start, scratch after the prologue.
const CONTEXT: u8 = 1;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program that answers as `list` says.
pub(crate) fn emit(list: &DeviceList) -> Vec<Instruction> {
    let mut code = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND_IMMEDIATE, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_IMMEDIATE, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for (devices, access) in &list.exceptions {
        code.extend(exception(devices, *access, list.allow_by_default));
    }
    code.extend(answer(list.allow_by_default));
    code
}

fn exception(devices: &Devices, access: Access, allow_by_default: bool) -> Vec<Instruction> {
    let kind = match devices.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    // Tests as (opcode, register, other register, value), each leaving the block when the exception does not apply.
    let mut tests = vec![(JUMP_NOT_EQUAL_IMMEDIATE, KIND, 0, kind)];
    tests.extend(devices.major.map(|major| (JUMP_NOT_EQUAL_IMMEDIATE, MAJOR, 0, major)));
    tests.extend(devices.minor.map(|minor| (JUMP_NOT_EQUAL_IMMEDIATE, MINOR, 0, minor)));
    if access != Access::ALL {
        // Granted only when nothing else is asked for, denied as soon as one denied part is.
        tests.push(match allow_by_default {
            true => (JUMP_EQUAL_IMMEDIATE, SCRATCH, 0, 0),
            false => (JUMP_NOT_EQUAL_REGISTER, SCRATCH, ACCESS, 0),
        });
    }

    let mut code = Vec::new();
    if access != Access::ALL {
        code.push(instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0));
        code.push(instruction(AND_IMMEDIATE, SCRATCH, 0, 0, access.bits().into()));
    }
    let answer = answer(!allow_by_default);
    for (at, (opcode, register, other, value)) in tests.iter().enumerate() {
        let beyond = tests.len() - at - 1 + answer.len();
        code.push(instruction(*opcode, *register, *other, beyond as i16, *value));
    }
    code.extend(answer);
    code
}

fn answer(permit: bool) -> [Instruction; 2] {
    [
        instruction(MOVE_IMMEDIATE, ANSWER, 0, 0, permit.into()),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

fn instruction(opcode: u8, destination: u8, source: u8, offset: i16, value: u32) -> Instruction {
    let registers = destination | source << 4;
    let [low, high] = offset.to_le_bytes();
    let value = value.to_le_bytes();
    Instruction::from_le_bytes([opcode, registers, low, high, value[0], value[1], value[2], value[3]])
}

#[cfg(test)]
mod tests;
