//! The table, the parser and what is made from them, checked against each other, against the list of
//! features, and against what engines were recorded to send.

mod replay;

use std::ffi::{CStr, CString};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, fs, vec};

use crate::command::{Invocation, Program, Refused, Shell, parse};
use crate::table::{COMMANDS, CommandSpec, GLOBAL, Opt, Uses, Value};
use crate::{completion, help, man};

/// Parses `words` as the program `name`, and gives what `look` makes of it.
fn with<T>(name: &str, words: &[&str], look: impl FnOnce(Result<&Invocation<'_>, &Refused<'_>>) -> T) -> T {
    let owned: Vec<CString> = [name].iter().chain(words).map(|word| CString::new(*word).unwrap()).collect();
    let arguments: Vec<&CStr> = owned.iter().map(CString::as_c_str).collect();
    look(parse(&arguments).as_ref())
}

/// `Ok` with what was understood, or `Err` with the reason.
fn shown(name: &str, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    with(name, &words, |parsed| match parsed {
        Ok(invocation) => Ok(format!("{invocation:?}")),
        Err(refused) => Err(refused.message.clone()),
    })
}

/// Checks that two spellings mean the same.
fn same(one: &str, other: &str) {
    let understood = shown("orlop", one);
    assert!(understood.is_ok(), "{one}: {understood:?}");
    assert_eq!(understood, shown("orlop", other), "{one} / {other}");
}

/// Checks that a line is refused with `reason`.
fn refused(line: &str, reason: &str) {
    assert_eq!(shown("/usr/bin/orlop", line), Err(reason.to_string()), "{line}");
}

#[test]
fn spellings() {
    for (one, other) in [
        ("--root /r state c", "--root=/r state c"),
        ("--root /r state c", "-root /r state c"),
        ("--root /r state c", "-root=/r state c"),
        ("--root /r state c", "state --root /r c"),
        ("--log-format json state c", "--log-format text --log-format json state c"),
        ("delete --force c", "delete -f c"),
        ("delete --force c", "delete c --force"),
        ("delete --force c", "delete --force=true c"),
        ("delete --force c", "delete --force= c"),
        ("delete c", "delete --force=false c"),
        ("delete --force c", "delete --force -- c"),
        ("update --pids-limit -1 c", "update c --pids-limit=-1"),
        ("run --detach -b /b c", "run -db /b c"),
        ("exec -t -d c sh", "exec -td c sh"),
        ("exec c ls -l --force", "exec -- c ls -l --force"),
        ("kill c", "kill c TERM"),
        ("kill c 9", "kill c sigkill"),
        ("spec --config /x", "spec --file /x"),
        ("create --bundle= c", "create c"),
        ("--cgroup-manager systemd state c", "--systemd-cgroup state c"),
        ("--systemd-cgroup state c", "--cgroup-manager cgroupfs --systemd-cgroup state c"),
        ("--cgroup-manager disabled state c", "--systemd-cgroup --cgroup-manager disabled state c"),
        ("-h", "help"),
        ("", "--help"),
        ("-v", "--version"),
        ("create --help", "help create"),
        ("create -h --no-such", "create --help"),
        ("--help create", "create --help c d e"),
    ] {
        same(one, other);
    }
}

#[test]
fn refusals() {
    for (line, reason) in [
        ("foo -h", "No help topic for 'foo'"),
        ("help foo", "No help topic for 'foo'"),
        ("--foo state c", "flag provided but not defined: -foo"),
        ("state --foo=1 c", "flag provided but not defined: -foo"),
        ("delete -fx c", "flag provided but not defined: -fx"),
        ("--root", "flag needs an argument: --root"),
        ("restore --lsm-mount-context", "flag needs an argument: --lsm-mount-context"),
        ("state", "/usr/bin/orlop: \"state\" requires exactly 1 argument(s)"),
        ("list c", "/usr/bin/orlop: \"list\" requires exactly 0 argument(s)"),
        ("kill", "/usr/bin/orlop: \"kill\" requires a minimum of 1 argument(s)"),
        ("kill c 9 9", "/usr/bin/orlop: \"kill\" requires a maximum of 2 argument(s)"),
        ("kill c NOPE", "unknown signal \"NOPE\""),
        ("kill c -- 9", "/usr/bin/orlop: \"kill\" requires a maximum of 2 argument(s)"),
        ("--log-format xml state c", "invalid log-format: xml"),
        ("--rootless maybe state c", "invalid value \"maybe\" for flag -rootless: must be true, false or auto"),
        ("delete --force=2 c", "invalid value \"2\" for flag -force: parse error"),
        ("create --preserve-fds x c", "invalid value \"x\" for flag -preserve-fds: not a whole number"),
        ("create --preserve-fds -1 c", "invalid value \"-1\" for flag -preserve-fds: value out of range"),
        ("exec c", "exec args cannot be empty"),
        ("exec -u 4294967295 c sh", "invalid value \"4294967295\" for flag -user: bad uid"),
        ("exec -g 4294967295 c sh", "invalid value \"4294967295\" for flag -additional-gids: value out of range"),
        ("exec --cgroup :a c sh", "invalid --cgroup argument: :a (empty <controller> prefix)"),
        ("exec --cgroup cpu:a --cgroup b c sh", "invalid --cgroup argument: b (missing <controller>: prefix)"),
        (
            "exec --cgroup cpu:a --cgroup memory,cpu:b c sh",
            "invalid --cgroup argument(s): controller cpu specified multiple times",
        ),
        ("update --memory 1z c", "invalid value \"1z\" for flag -memory: not a size in bytes"),
        ("list --format yaml", "invalid value \"yaml\" for flag -format: must be one of table, json"),
        ("events --interval 0s c", "duration interval must be greater than 0"),
        ("checkpoint --page-server :1 c", "Use --page-server ADDRESS:PORT to specify page server"),
        ("checkpoint --empty-ns pid c", "invalid value \"pid\" for flag -empty-ns: namespace is not supported"),
        ("mounts move c f", "unknown command \"move\""),
        ("completion csh", "completion: no such shell: csh"),
    ] {
        refused(line, reason);
    }
}

#[test]
fn exit_statuses() {
    for (line, status) in [("foo", 3), ("state", 1), ("exec -u x c sh", 255), ("exec c", 255), ("kill c X", 1)] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(with("orlop", &words, |parsed| parsed.unwrap_err().status), status, "{line}");
    }
}

/// A refusal is logged where the log was asked to go.
#[test]
fn a_refusal_knows_the_log() {
    for line in ["--log /l --log-format json --foo", "--log /l --log-format=json state --log-level x c"] {
        let words: Vec<&str> = line.split(' ').collect();
        with("orlop", &words, |parsed| {
            let global = &parsed.unwrap_err().global;
            assert_eq!(global.log, Some(c"/l"), "{line}");
            assert_eq!(global.log_format, crate::command::LogFormat::Json, "{line}");
        });
    }
}

/// Text that an option takes and that is not its default.
fn sample(opt: &Opt) -> &'static str {
    match (opt.long, opt.value) {
        ("user", _) => "7:8",
        ("rootless", Value::Text) => "true",
        ("page-server", _) => "[::1]:80",
        (_, Value::Choice(of)) => of.last().unwrap(),
        (_, Value::Number(..)) => "1",
        (_, Value::Size) => "77k",
        (_, Value::Duration) => "7m",
        (_, Value::Text | Value::Path) => "/some-text",
        (_, Value::Flag) => "true",
    }
}

/// Arguments that a command takes.
fn arguments(command: &CommandSpec) -> Vec<&'static str> {
    match command.name {
        "exec" => vec!["c", "sh"],
        "mounts" => vec!["add", "c", "/f"],
        "completion" => vec!["bash"],
        _ => vec!["c"; command.count.0],
    }
}

/// Every option of every command, in every spelling, changes what is understood: none is ignored.
#[test]
fn no_option_is_ignored() {
    let mut checked = 0;
    for command in COMMANDS {
        let arguments = arguments(command);
        let line = |option: &[String]| {
            let words: Vec<&str> = option.iter().map(String::as_str).collect();
            let all: Vec<&str> = [&[command.name], words.as_slice(), &arguments].concat();
            with("orlop", &all, |parsed| format!("{:?}", parsed.unwrap_or_else(|why| panic!("{all:?}: {why:?}"))))
        };
        let without = line(&[]);
        let global = GLOBAL.iter().filter(|opt| opt.long != "version");
        let mut options: Vec<&Opt> = command.options.iter().collect();
        options.extend(global.filter(|global| !command.options.iter().any(|opt| opt.long == global.long)));
        for opt in options {
            for name in help::spellings(opt) {
                if name.len() == 2 && !command.options.contains(opt) {
                    continue;
                }
                let forms = [
                    vec![format!("{name}={}", sample(opt))],
                    match opt.takes_argument() {
                        true => vec![name.clone(), sample(opt).to_string()],
                        false => vec![name.clone()],
                    },
                ];
                for form in forms {
                    let with = line(&form);
                    let about_help = with.contains("Help(") && without.contains("Help(");
                    assert!(with != without || about_help, "{} {form:?}", command.name);
                    if opt.uses == Uses::All && opt.long != "empty-ns" && opt.long != "cgroup" {
                        let twice = [form.clone(), form].concat();
                        assert_ne!(line(&twice), with, "{} {twice:?}", command.name);
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 500, "{checked}");
}

/// Names and letters are unique within what can stand together.
#[test]
fn names_are_unique() {
    for options in COMMANDS.iter().map(|command| command.options).chain([GLOBAL]) {
        let mut names: Vec<String> = options.iter().flat_map(help::spellings).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }
    let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COMMANDS.len());
}

/// What users of runc, crun and youki have: commands with their options, and letters where there are any.
const FEATURES: &[(&str, &str)] = &[
    ("", "root log log-format log-level debug systemd-cgroup cgroup-manager rootless criu version/v help/h"),
    ("create", "bundle/b config/f console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds"),
    (
        "run",
        "bundle/b config/f console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds detach/d keep no-subreaper",
    ),
    ("start", ""),
    ("state", ""),
    ("kill", "all/a regex/r"),
    ("delete", "force/f regex/r"),
    (
        "exec",
        "console-socket pidfd-socket cwd env/e tty/t user/u additional-gids/g process/p detach/d pid-file process-label apparmor no-new-privs cap/c preserve-fds cgroup ignore-paused",
    ),
    ("list", "format/f quiet/q"),
    ("ps", "format/f"),
    ("pause", ""),
    ("resume", ""),
    ("events", "interval stats"),
    (
        "update",
        "resources/r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpu-idle cpuset-cpus cpuset-mems memory memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema",
    ),
    ("spec", "rootless bundle/b config/f"),
    ("features", ""),
    (
        "checkpoint",
        "image-path work-path parent-path leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job lazy-pages status-fd page-server file-locks pre-dump manage-cgroups-mode empty-ns auto-dedup network-lock",
    ),
    (
        "restore",
        "bundle/b image-path work-path console-socket pid-file detach/d tcp-established tcp-close ext-unix-sk shell-job file-locks manage-cgroups-mode no-subreaper no-pivot empty-ns auto-dedup lazy-pages lsm-profile lsm-mount-context network-lock",
    ),
    ("mounts", ""),
    ("info", ""),
    ("wait", ""),
    ("doctor", "fix"),
    ("explain", "bundle/b format"),
    ("lint", "bundle/b format"),
];

/// The table, the help, the manual and the completions of all three shells have every feature.
#[test]
fn every_feature_is_everywhere() {
    let program = Program::Orlop;
    let scripts = [Shell::Bash, Shell::Zsh, Shell::Fish].map(|shell| completion::script(shell, program));
    for (name, options) in FEATURES {
        let command = COMMANDS.iter().find(|command| command.name == *name);
        assert!(command.is_some() || name.is_empty(), "{name}");
        let table = command.map_or(GLOBAL, |command| command.options);
        let (text, page) = (help::help(program, command), man::page(program, command));
        for option in options.split_whitespace() {
            let (long, letter) = match option.split_once('/') {
                Some((long, letter)) => (long, letter.chars().next()),
                None => (option, None),
            };
            let opt = table.iter().find(|opt| opt.long == long);
            let opt = opt.unwrap_or_else(|| panic!("{name} lacks --{long}"));
            assert!(letter.is_none_or(|letter| opt.shorts.contains(&letter)), "{name} {option}");
            assert!(text.contains(&format!("--{long}")), "help {name} {option}");
            assert!(page.contains(&format!("\\-\\-{}", long.replace('-', "\\-"))), "man {name} {option}");
            for script in &scripts {
                assert!(script.contains(long) && script.contains(name), "{name} {option}");
            }
        }
        assert!(help::help(program, None).contains(&format!("   {name}")), "{name}");
    }
}

/// Nothing in the help is missing from the table, and nothing visible in the table from the help.
#[test]
fn the_help_is_the_table() {
    for command in COMMANDS.iter().map(Some).chain([None]) {
        let text = help::help(Program::Orlop, command);
        let (_, text) = text.rsplit_once("OPTIONS:\n").unwrap();
        let mut printed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("   --"))
            .filter_map(|line| line.split([' ', ',']).next())
            .collect();
        let table = command.map_or(GLOBAL, |command| command.options);
        let mut defined: Vec<&str> = table.iter().filter(|opt| !opt.hidden).map(|opt| opt.long).collect();
        printed.sort_unstable();
        defined.sort_unstable();
        assert_eq!(printed, defined);
    }
}

/// The layout that runc's own tests look for, under whatever name the program was called.
#[test]
fn help_and_version_by_name() {
    for (argv0, name) in [("/usr/bin/runc", "runc"), ("crun", "crun"), ("./orlop", "orlop"), ("x", "orlop")] {
        let program = Program::of(&CString::new(argv0).unwrap());
        let text = help::help(program, None);
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "NAME:");
        assert!(lines[1].contains(&format!("{name} - Open Container Initiative runtime")), "{}", lines[1]);
        for command in COMMANDS {
            let text = help::help(program, Some(command));
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[0], "NAME:");
            assert!(lines[1].contains(&format!("{name} {}", command.name)), "{}", lines[1]);
        }
        let text = help::version(program);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{name} version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: ") && lines[1].len() > 8);
        assert_eq!(lines[2], "spec: 1.3.0");
        assert!(!lines[1..].iter().any(|line| line.contains("version")));
    }
    assert!(help::help(Program::Orlop, None).contains("--cgroup-manager"));
    assert!(!help::help(Program::Runc, None).contains("--cgroup-manager"));
}

/// The shells themselves take the scripts, and man takes the pages, where they are installed.
#[test]
fn shells_take_the_completions() {
    for (shell, which) in [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)] {
        let path = std::env::temp_dir().join(format!("orlop-completion-{}-{shell}", std::process::id()));
        fs::write(&path, completion::script(which, Program::Orlop)).unwrap();
        let status = std::process::Command::new(shell).arg("-n").arg(&path).status();
        fs::remove_file(&path).unwrap();
        assert!(status.map_or(true, |status| status.success()), "{shell}");
    }
}

/// What bash offers for a line: the script is loaded and its function called as bash calls it.
fn bash_offers(words: &[&str]) -> Vec<String> {
    let script = completion::script(Shell::Bash, Program::Orlop);
    let last = words.len() - 1;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let call = format!(
        "{script}\norlop() {{ echo one two; }}\nCOMP_WORDS=({}); COMP_CWORD={last}; _orlop\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" ")
    );
    let out = std::process::Command::new("bash").args(["--norc", "-c", &call]).output().unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_string).collect()
}

#[test]
fn bash_completes() {
    for (words, offers) in [
        (&["orlop", "chec"][..], &["checkpoint"][..]),
        (&["orlop", "--root", "/r", "--debug", "pau"], &["pause"]),
        (&["orlop", "kill", "--a"], &["--all"]),
        (&["orlop", "kill", ""], &["one", "two"]),
        (&["orlop", "create", ""], &[""]),
        (&["orlop", "list", "--format", "j"], &["json"]),
        (&["orlop", "mounts", "re"], &["remove"]),
        (&["orlop", "help", "upd"], &["update"]),
    ] {
        assert_eq!(bash_offers(words), offers, "{words:?}");
    }
}

#[test]
fn fish_completes() {
    let script = completion::script(Shell::Fish, Program::Orlop);
    for (line, offers) in [
        ("orlop chec", &["checkpoint"][..]),
        ("orlop kill --a", &["--all"]),
        ("orlop list --format ", &["json", "table"]),
        ("orlop mounts ", &["add", "remove"]),
    ] {
        let call = format!("{script}\ncomplete -C '{line}'");
        let Ok(out) = std::process::Command::new("fish").args(["--no-config", "-c", &call]).output() else {
            return; // not installed
        };
        let text = String::from_utf8(out.stdout).unwrap();
        let words: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(words, offers, "{line}");
    }
}

/// groff finds nothing to complain about.
#[test]
fn manual_pages() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    for command in COMMANDS.iter().map(Some).chain([None]) {
        let groff = Command::new("groff")
            .args(["-man", "-Tascii", "-ww", "-Wbreak"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut groff) = groff else {
            return; // not installed
        };
        let page = man::page(Program::Orlop, command);
        groff.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let out = groff.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(out.stderr).unwrap(), "", "{command:?}");
        assert!(out.stdout.len() > 200);
    }
}
