//! An interpreter for the instructions seccomp knows, strict like the kernel's checker.

use orlop_seccomp::{Arch, SockFilter};

/// `struct seccomp_data`, its arguments' halves in an architecture's order.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    words: [u32; 16],
}

impl Data {
    pub fn new(nr: u32, token: u32, args: [u64; 6]) -> Data {
        const LITTLE: u32 = 0x4000_0000;
        let mut words = [0; 16];
        (words[0], words[1]) = (nr, token);
        for (index, arg) in args.iter().enumerate() {
            let halves = [*arg as u32, (*arg >> 32) as u32];
            let place = 4 + 2 * index;
            (words[place], words[place + 1]) = if token & LITTLE != 0 {
                (halves[0], halves[1])
            } else {
                (halves[1], halves[0])
            };
        }
        Data { words }
    }
}

/// What a program returns, and what it looked at.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub value: u32,
    /// It looked at no more than number and architecture: then the kernel's bitmap knows it.
    pub constant: bool,
    pub steps: usize,
}

pub fn run(program: &[SockFilter], data: &Data) -> Outcome {
    let (mut at, mut accumulator, mut constant, mut steps) = (0, 0u32, true, 0);
    loop {
        let SockFilter { code, jt, jf, k } = program[at];
        steps += 1;
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                assert!(k % 4 == 0 && k < 64, "load of {k}");
                accumulator = data.words[k as usize / 4];
                constant &= k <= 4;
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x06 => {
                return Outcome {
                    value: k,
                    constant,
                    steps,
                };
            }
            _ => panic!("code {code:#x} at {}", at - 1),
        }
    }
}

/// What bpf_check_classic asks for: a length, jumps that stay inside, a return at the end.
pub fn check(program: &[SockFilter]) {
    assert!(
        (1..=4096).contains(&program.len()),
        "{} instructions",
        program.len()
    );
    for (at, instruction) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        let farthest = match instruction.code {
            0x05 => instruction.k as usize,
            0x15 | 0x25 | 0x35 | 0x45 => usize::from(instruction.jt.max(instruction.jf)),
            _ => continue,
        };
        assert!(farthest < left, "jump out of the program at {at}");
    }
    assert_eq!(program.last().unwrap().code, 0x06);
}

/// Every number worth trying with an architecture's audit token.
pub fn numbers(archs: &[Arch]) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..640).collect();
    numbers.extend([
        700,
        1000,
        0xffff,
        0xe_ffff,
        0x3fff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX - 1,
    ]);
    numbers.extend(0xf_0000..0xf_0010);
    numbers.extend(0x4000_0000..0x4000_0000 + 640);
    numbers.extend([0x4000_03e8, u32::MAX]);
    if archs.iter().any(|arch| arch.name().contains("MIPS")) {
        numbers.extend(3990..7000);
    }
    numbers
}
