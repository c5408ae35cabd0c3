//! Runs a filter as the kernel would, for tests.

use crate::Program;

/// A system call as a filter sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Call {
    pub number: u32,
    pub arch: u32,
    pub args: [u64; 6],
}

/// What the filter answers.
pub(crate) fn run(program: &Program, call: Call) -> u32 {
    let data = data(call);
    let code = program.instructions();
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let now = code[at];
        at += 1;
        let branch = |taken: bool| if taken { now.jt } else { now.jf } as usize;
        match now.code {
            0x20 => accumulator = data[now.k as usize / 4],
            0x54 => accumulator &= now.k,
            0x05 => at += now.k as usize,
            0x15 => at += branch(accumulator == now.k),
            0x25 => at += branch(accumulator > now.k),
            0x35 => at += branch(accumulator >= now.k),
            0x45 => at += branch(accumulator & now.k != 0),
            0x06 => return now.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// `struct seccomp_data` as little-endian words: number, arch, instruction pointer, arguments.
fn data(call: Call) -> Vec<u32> {
    let words = call.args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]);
    [call.number, call.arch, 0, 0].into_iter().chain(words).collect()
}
