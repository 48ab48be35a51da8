//! The binary itself: what its file is, and what it does with its descriptors.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const ORLOP: &str = env!("CARGO_BIN_EXE_orlop");

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("orlop-binary-{}-{name}", std::process::id()))
}

/// Types of the program headers of an ELF file of 64 bits; see elf(5).
fn program_headers(file: &[u8]) -> Vec<u32> {
    let number = |at: usize, len: usize| {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(&file[at..at + len]);
        u64::from_le_bytes(bytes) as usize
    };
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).map(|i| number(start + i * size, 4) as u32).collect()
}

/// No interpreter, no shared library, and nobody's C library inside.
#[test]
fn the_binary_stands_alone() {
    const PT_DYNAMIC: u32 = 2;
    const PT_INTERP: u32 = 3;
    const PT_TLS: u32 = 7;
    let file = fs::read(ORLOP).unwrap();
    let headers = program_headers(&file);
    assert!(headers.len() > 2);
    for header in [PT_DYNAMIC, PT_INTERP, PT_TLS] {
        assert!(!headers.contains(&header), "{headers:?}");
    }
    assert!(!file.windows(17).any(|text| text == b"__libc_start_main"));
}

#[test]
fn texts_go_to_standard_output_alone() {
    for (arguments, begins) in [
        (&["--version"][..], "orlop version "),
        (&["-v"], "orlop version "),
        (&["--help"], "NAME:\n   orlop - Open Container Initiative runtime\n"),
        (&[], "NAME:\n"),
        (&["checkpoint", "--help"], "NAME:\n   orlop checkpoint - "),
        (&["completion", "bash"], "# bash completion for orlop\n"),
        (&["man"], ".TH ORLOP 8 "),
    ] {
        let out = Command::new(ORLOP).args(arguments).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8(out.stderr).unwrap(), "", "{arguments:?}");
        assert!(out.stdout.starts_with(begins.as_bytes()), "{arguments:?}");
    }
}

/// Runs with a log file and gives the status, what came on standard error, and the file.
fn refuse(arguments: &[&str], format: &str, stderr: Stdio) -> (Option<i32>, String, String) {
    let log = scratch(&format!("{}-{format}", arguments.join("-").replace('/', "")));
    let out = Command::new(ORLOP)
        .args(["--log", log.to_str().unwrap(), "--log-format", format])
        .args(arguments)
        .stderr(stderr)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap(), text)
}

/// One record in the file, and its message on standard error.
#[test]
fn a_failure_is_told_twice() {
    for (arguments, status, message) in [
        (&["foo"][..], 3, "No help topic for 'foo'"),
        (&["kill", "c", "NOPE"], 1, "unknown signal \"NOPE\""),
        (&["exec", "-u", "x", "c", "sh"], 255, "invalid value \"x\" for flag -user: bad uid"),
        (&["restore", "--lsm-mount-context"], 1, "flag needs an argument: --lsm-mount-context"),
    ] {
        let (code, stderr, log) = refuse(arguments, "json", Stdio::piped());
        assert_eq!(code, Some(status), "{arguments:?}");
        assert_eq!(stderr, format!("{message}\n"), "{arguments:?}");
        let record: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(record["level"], "error");
        assert_eq!(record["msg"], message);
        let (_, stderr, log) = refuse(arguments, "text", Stdio::piped());
        assert_eq!(stderr, format!("{message}\n"), "{arguments:?}");
        assert!(log.starts_with("time=\"") && log.contains(" level=error msg=\"") && log.lines().count() == 1);
    }
}

/// A sandbox's standard error may be /dev/null opened for reading.
#[test]
fn an_unwritable_standard_error_is_not_fatal() {
    let null = File::open("/dev/null").unwrap();
    let (code, _, log) = refuse(&["kill", "d", "NOPE"], "json", null.into());
    assert_eq!(code, Some(1));
    assert_eq!(log.lines().count(), 1);
}

/// Without `--log` the record itself is on standard error.
#[test]
fn records_on_standard_error() {
    for (format, begins) in [("text", "time=\""), ("json", "{\"level\":\"error\",\"msg\":\"")] {
        let out = Command::new(ORLOP).args(["--log-format", format, "kill", "c", "NOPE"]).output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        let stderr = String::from_utf8(out.stderr).unwrap();
        assert!(stderr.starts_with(begins) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let out = Command::new(ORLOP).args(["--log", "/no/such/folder/log", "list"]).output().unwrap();
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr.contains("open log /no/such/folder/log: no such file or directory"), "{stderr}");
}

/// What only prints must not touch the state directory, which cannot be made here.
#[test]
fn help_needs_no_state_directory() {
    for (arguments, status) in [(&["--help"][..], 0), (&["--version"], 0), (&["--root", "/", "list"], 1)] {
        let out = Command::new(ORLOP).args(arguments).env("XDG_RUNTIME_DIR", "/proc/none").output().unwrap();
        assert_eq!(out.status.code(), Some(status), "{arguments:?}");
    }
}

/// A closed standard error is not taken for the log, nor the log for it.
#[test]
fn closed_descriptors_stay_out_of_the_log() {
    for close in ["2>&-", "<&- 2>&-", "<&- >&- 2>&-", ">&-"] {
        let log = scratch(&format!("closed-{}", close.len()));
        let line = format!("exec {ORLOP} --log {} --log-format json kill c NOPE {close}", log.display());
        let status = Command::new("sh").args(["-c", &line]).stderr(Stdio::null()).status().unwrap();
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        assert_eq!(status.code(), Some(1), "{close}");
        assert_eq!(text.lines().count(), 1, "{close}: {text}");
    }
}
