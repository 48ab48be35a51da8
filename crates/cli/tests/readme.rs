//! README's table of commands, asked of the binary: one that is not built says so. `ORLOP_BLESS=1` writes it anew.

use std::process::Command;
use std::{env, fs};

/// Each command with the least that its parser accepts.
const COMMANDS: &[(&str, &[&str])] = &[
    ("create", &["c"]),
    ("start", &["c"]),
    ("run", &["c"]),
    ("state", &["c"]),
    ("kill", &["c"]),
    ("delete", &["c"]),
    ("exec", &["c", "sh"]),
    ("list", &[]),
    ("ps", &["c"]),
    ("pause", &["c"]),
    ("resume", &["c"]),
    ("events", &["c"]),
    ("update", &["--pids-limit", "1", "c"]),
    ("checkpoint", &["c"]),
    ("restore", &["c"]),
    ("mounts", &["add", "c", "mounts.json"]),
    ("spec", &[]),
    ("explain", &[]),
    ("lint", &[]),
    ("features", &[]),
    ("info", &[]),
    ("wait", &["c"]),
    ("doctor", &[]),
];

/// The help's list, `help` itself aside.
fn commands_of_the_help() -> Vec<String> {
    let out = Command::new(env!("CARGO_BIN_EXE_orlop")).arg("--help").output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    let lines = help.lines().skip_while(|line| *line != "COMMANDS:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(String::from).collect()
}

#[test]
fn the_readme_tells_which_commands_there_are() {
    let mut all: Vec<&str> = COMMANDS.iter().map(|(command, _)| *command).collect();
    let mut known = commands_of_the_help();
    all.sort_unstable();
    known.sort_unstable();
    assert_eq!(all, known);
    let scratch = env::temp_dir().join(format!("orlop-readme-{}", std::process::id()));
    fs::create_dir_all(scratch.join("root")).unwrap();
    let (mut built, mut missing) = (Vec::new(), Vec::new());
    for (command, arguments) in COMMANDS {
        let out = Command::new(env!("CARGO_BIN_EXE_orlop"))
            .args(["--root", scratch.join("root").to_str().unwrap(), command])
            .args(*arguments)
            .current_dir(&scratch)
            .output()
            .unwrap();
        let stderr = String::from_utf8(out.stderr).unwrap();
        let refused = stderr.contains(&format!("{command}: not supported yet"));
        for misuse in ["No help topic", "requires", "flag provided but not defined"] {
            assert!(!stderr.contains(misuse), "{command}: {stderr}");
        }
        if refused { missing.push(*command) } else { built.push(*command) }
    }
    fs::remove_dir_all(&scratch).unwrap();
    let names = |list: &[&str]| list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let found = format!(
        "| commands | |\n|---|---|\n| built | {} |\n| not yet: refused by name | {} |\n",
        names(&built),
        names(&missing)
    );
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let text = fs::read_to_string(path).unwrap();
    let head = "<!-- support:commands -->\n";
    let (before, rest) = text.split_once(head).unwrap();
    let (section, after) = rest.split_once("<!-- end -->").unwrap();
    if env::var_os("ORLOP_BLESS").is_some() {
        fs::write(path, format!("{before}{head}{found}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(section, found, "README.md is behind: ORLOP_BLESS=1 writes it");
}
