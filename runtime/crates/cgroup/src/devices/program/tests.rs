use oci_spec::runtime::LinuxDeviceCgroup;
use proptest::prelude::*;

use super::*;

/// Runs a program as the kernel would, for the instructions that are emitted here.
fn run(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
    let context = [access << 16 | kind, major, minor];
    let mut registers = [0u32; 10];
    let mut at = 0;
    loop {
        let [opcode, both, low, high, value @ ..] = code[at].to_le_bytes();
        let (destination, source) = ((both & 15) as usize, (both >> 4) as usize);
        let offset = i16::from_le_bytes([low, high]);
        let value = u32::from_le_bytes(value);
        assert!(offset >= 0, "the verifier wants no loops");
        at += 1;
        let jump = match opcode {
            LOAD_WORD => {
                registers[destination] = context[offset as usize / 4];
                false
            }
            AND_IMMEDIATE => {
                registers[destination] &= value;
                false
            }
            SHIFT_RIGHT_IMMEDIATE => {
                registers[destination] >>= value;
                false
            }
            MOVE_REGISTER => {
                registers[destination] = registers[source];
                false
            }
            MOVE_IMMEDIATE => {
                registers[destination] = value;
                false
            }
            JUMP_NOT_EQUAL_IMMEDIATE => registers[destination] != value,
            JUMP_NOT_EQUAL_REGISTER => registers[destination] != registers[source],
            JUMP_EQUAL_IMMEDIATE => registers[destination] == value,
            EXIT => return registers[ANSWER as usize] == 1,
            other => panic!("opcode {other:#x}"),
        };
        if jump {
            at += offset as usize;
        }
    }
}

fn list(rules: &str) -> DeviceList {
    DeviceList::for_container(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(rules).unwrap()).unwrap()
}

#[test]
fn an_exception_is_a_block_of_tests_and_an_answer() {
    let all = list(r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "b", "major": 8, "access": "w"}]"#);
    let expected = [
        "61 r2 r1 +0 0x0",
        "bc r3 r2 +0 0x0",
        "54 r2 r0 +0 0xffff",
        "74 r3 r0 +0 0x10",
        "61 r4 r1 +4 0x0",
        "61 r5 r1 +8 0x0",
        "bc r1 r3 +0 0x0",
        "54 r1 r0 +0 0x4",
        "55 r2 r0 +4 0x1",
        "55 r4 r0 +3 0x8",
        "15 r1 r0 +2 0x0",
        "b4 r0 r0 +0 0x0",
        "95 r0 r0 +0 0x0",
        "b4 r0 r0 +0 0x1",
        "95 r0 r0 +0 0x0",
    ];
    let listing: Vec<String> = emit(&all).iter().map(|code| show(*code)).collect();
    assert_eq!(listing, expected);
}

fn show(code: Instruction) -> String {
    let [opcode, registers, low, high, value @ ..] = code.to_le_bytes();
    let (offset, value) = (i16::from_le_bytes([low, high]), u32::from_le_bytes(value));
    format!(
        "{opcode:02x} r{} r{} {offset:+} {value:#x}",
        registers & 15,
        registers >> 4
    )
}

fn rule() -> impl Strategy<Value = serde_json::Value> {
    let number = || prop_oneof![Just(-1i64), 0..3i64, Just(136)];
    (any::<bool>(), prop_oneof![Just("a"), Just("b"), Just("c")], number(), number(), "r?w?m?").prop_map(
        |(allow, kind, major, minor, access)| {
            serde_json::json!({"allow": allow, "type": kind, "major": major, "minor": minor, "access": access})
        },
    )
}

proptest! {
    #[test]
    fn the_program_answers_as_the_list_does(rules in prop::collection::vec(rule(), 0..8)) {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_value(rules.into()).unwrap();
        // A hole in a range is refused, so there is nothing to compare.
        let Ok(list) = DeviceList::for_container(&rules) else { return Ok(()) };
        let code = emit(&list);
        for (number, kind) in [(1, Kind::Block), (2, Kind::Char)] {
            for access in 1..8 {
                for (major, minor) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (1, 3), (136, 1), (136, 136), (9, 9)] {
                    let wanted = Access::parse(&Access(access).to_string()).unwrap();
                    prop_assert_eq!(
                        run(&code, number, access.into(), major, minor),
                        list.permits(kind, major, minor, wanted),
                        "{:?} {}:{} {}", kind, major, minor, wanted
                    );
                }
            }
        }
    }
}
