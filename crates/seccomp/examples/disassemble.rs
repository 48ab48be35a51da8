//! Compiles `linux.seccomp` of a config.json (or a file with that part alone) and prints the
//! program: `cargo run -p orlop-seccomp --example disassemble -- config.json`
#![allow(clippy::print_stdout, reason = "an example's output")]

use std::process::ExitCode;

use orlop_seccomp::{Action, Arch, Arg, Error, Flags, Operator, Options, Profile, Rule, SockFilter, compile};
use serde_json::Value;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        println!("usage: disassemble CONFIG.JSON");
        return ExitCode::FAILURE;
    };
    match run(&file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let seccomp = json.pointer("/linux/seccomp").unwrap_or(&json);

    let architectures = named(&seccomp["architectures"], Arch::from_name)?;
    let flags = match &seccomp["flags"] {
        Value::Null => Flags::DEFAULT,
        flags => named(flags, Flags::from_name)?.into_iter().fold(Flags::NONE, Flags::with),
    };
    let empty = Vec::new();
    let parsed = seccomp["syscalls"].as_array().unwrap_or(&empty).iter().map(|rule| {
        let names = named(&rule["names"], |name| Some(name.to_string()))?;
        let args = rule["args"].as_array().unwrap_or(&empty).iter().map(argument);
        let args = args.collect::<Result<Vec<Arg>, String>>()?;
        Ok((names, action(&rule["action"])?, errno(&rule["errnoRet"]), args))
    });
    let parsed = parsed.collect::<Result<Vec<_>, String>>()?;
    let rules: Vec<Rule<'_, String>> = parsed
        .iter()
        .map(|(names, action, errno_ret, args)| Rule { names, action: *action, errno_ret: *errno_ret, args })
        .collect();
    let profile = Profile {
        default_action: action(&seccomp["defaultAction"])?,
        default_errno_ret: errno(&seccomp["defaultErrnoRet"]),
        architectures: &architectures,
        flags,
        rules: &rules,
    };

    let program = compile(&profile, &Options::default()).map_err(|error: Error| error.to_string())?;
    for (at, instruction) in program.instructions.iter().enumerate() {
        println!("{at:4}  {}", text(at, instruction));
    }
    println!(
        "{} instructions, flags {:#x}, notify {}, unknown {:?}",
        program.instructions.len(),
        program.flags.bits(),
        program.notify,
        program.unknown
    );
    Ok(())
}

fn named<T>(list: &Value, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let names = list.as_array().into_iter().flatten();
    names.map(|name| name.as_str().and_then(&find).ok_or(format!("{name} is not known"))).collect()
}

fn action(name: &Value) -> Result<Action, String> {
    name.as_str().and_then(Action::from_name).ok_or(format!("{name} is not an action"))
}

fn errno(number: &Value) -> Option<u32> {
    number.as_u64().map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

fn argument(json: &Value) -> Result<Arg, String> {
    let op = &json["op"];
    Ok(Arg {
        index: errno(&json["index"]).ok_or("an argument has no index")?,
        op: op.as_str().and_then(Operator::from_name).ok_or(format!("{op} is not an operator"))?,
        value: json["value"].as_u64().ok_or("an argument has no value")?,
        value_two: json["valueTwo"].as_u64().unwrap_or(0),
    })
}

/// An instruction in the words of the kernel's bpf_dbg, jumps with their targets.
fn text(at: usize, instruction: &SockFilter) -> String {
    let SockFilter { code, jt, jf, k } = *instruction;
    let branch = |name: &str| {
        let [yes, no] = [jt, jf].map(|skip| at + 1 + usize::from(skip));
        format!("{name:<5}#{k:#x}, {yes}, {no}")
    };
    match code {
        0x20 => match k {
            0 => "ld   nr".to_string(),
            4 => "ld   arch".to_string(),
            _ => format!("ld   args[{}]{}", (k - 16) / 8, if k % 8 == 0 { "" } else { " + 4" }),
        },
        0x54 => format!("and  #{k:#x}"),
        0x05 => format!("ja   {}", at + 1 + k as usize),
        0x15 => branch("jeq"),
        0x25 => branch("jgt"),
        0x35 => branch("jge"),
        0x45 => branch("jset"),
        0x06 => format!("ret  {}", verdict(k)),
        _ => format!("code {code:#x} #{k:#x}"),
    }
}

/// `SECCOMP_RET_*` of linux/seccomp.h.
fn verdict(value: u32) -> String {
    let data = value & 0xffff;
    match value & 0xffff_0000 {
        0x8000_0000 => "kill process".into(),
        0 => "kill thread".into(),
        0x0003_0000 => "trap".into(),
        0x0005_0000 => format!("errno {data}"),
        0x7fc0_0000 => "notify".into(),
        0x7ff0_0000 => format!("trace {data}"),
        0x7ffc_0000 => "log".into(),
        0x7fff_0000 => "allow".into(),
        _ => format!("{value:#x}"),
    }
}
