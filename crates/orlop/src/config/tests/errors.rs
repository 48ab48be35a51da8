//! Errors name the value, its place and what was expected.

use std::borrow::ToOwned;
use std::string::String;

use super::super::*;

/// Reads texts that must be refused; shows every one whose error differs.
#[track_caller]
fn check(table: impl IntoIterator<Item = (String, String)>) {
    let read = |text: &str| match Config::parse(text.as_bytes()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => std::format!("{error}"),
    };
    let (mut found, mut expected) = (String::new(), String::new());
    for (text, error) in table {
        found += &std::format!("{text}\n    {}\n", read(&text));
        expected += &std::format!("{text}\n    config.json:{error}\n");
    }
    let differing: Vec<_> = found.lines().zip(expected.lines()).filter(|(a, b)| a != b).collect();
    assert!(differing.is_empty(), "found, expected: {differing:#?}");
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    let lines = "{\n  \"ociVersion\": \"1.3.0\",\n  \"process\": {\n    \"cwd\": \"/\",\n    \"user\": {\"uid\": VALUE}\n  }\n}";
    let table = [
        ("4294967296", "invalid value: integer `4294967296`, expected u32"),
        ("-1", "invalid value: integer `-1`, expected u32"),
        ("1.5", "invalid type: floating point `1.5`, expected u32"),
        ("1e3", "invalid type: floating point `1000.0`, expected u32"),
        ("\"0\"", "invalid type: string \"0\", expected u32"),
        ("true", "invalid type: boolean `true`, expected u32"),
        ("[0]", "invalid type: sequence, expected u32"),
        ("{\"a\": 0}", "invalid type: map, expected u32"),
        ("99999999999999999999", "invalid type: floating point `1e+20`, expected u32"),
    ];
    check(
        table.map(|(value, message)| {
            (lines.replace("VALUE", value), std::format!("5:21: /process/user/uid: {message}"))
        }),
    );
    assert!(Config::parse(lines.replace("VALUE", "4294967295").as_bytes()).is_ok());
}

/// The member of the root object under test, and the error.
#[test]
fn errors_of_members() {
    let table = [
        (r#""process": []"#, "1:36: /process: invalid type: sequence, expected a process object"),
        (
            r#""process": {"args": ["a", 1], "cwd": "/"}"#,
            "1:51: /process/args/1: invalid type: integer `1`, expected a string",
        ),
        (
            r#""process": {"args": ["a", null], "cwd": "/"}"#,
            "1:51: /process/args/1: invalid type: null, expected a string",
        ),
        (
            r#""process": {"user": [0, 0], "cwd": "/"}"#,
            "1:45: /process/user: invalid type: sequence, expected a user object",
        ),
        (r#""process": { }"#, "1:36: /process: missing field `cwd`"),
        (r#""process": {"cwd": null}"#, "1:44: /process/cwd: invalid type: null, expected a string"),
        (
            r#""process": {"cwd": "/", "terminal": 1}"#,
            "1:61: /process/terminal: invalid type: integer `1`, expected a boolean",
        ),
        (
            r#""process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_WISHES", "hard": 1, "soft": 1}]}"#,
            "1:70: /process/rlimits/0/type: invalid value: string \"RLIMIT_WISHES\", expected an rlimit type (RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME)",
        ),
        (
            r#""process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_CPU", "hard": -1, "soft": 1}]}"#,
            "1:92: /process/rlimits/0/hard: invalid value: integer `-1`, expected u64",
        ),
        (
            r#""process": {"cwd": "/", "oomScoreAdj": 3000000000}"#,
            "1:64: /process/oomScoreAdj: invalid value: integer `3000000000`, expected i32",
        ),
        (r#""root": {}"#, "1:33: /root: missing field `path`"),
        (r#""root": {"path": "a", "path": "b"}"#, "1:47: /root/path: duplicate field `path`"),
        (r#""mounts": [{"destination": "/a"}, {"source": "/b"}]"#, "1:59: /mounts/1: missing field `destination`"),
        (r#""mounts": {}"#, "1:35: /mounts: invalid type: map, expected a sequence"),
        (
            r#""hooks": {"poststop": [{"path": "/x", "timeout": 0}]}"#,
            "1:74: /hooks/poststop/0/timeout: invalid value: integer `0`, expected a nonzero u32",
        ),
        (r#""annotations": {"a": 1}"#, "1:46: /annotations/a: invalid type: integer `1`, expected a string"),
        (
            r#""annotations": {"a/b~\"c": []}"#,
            "1:52: /annotations/a~1b~0\"c: invalid type: sequence, expected a string",
        ),
        (
            r#""linux": {"namespaces": [{"type": "net"}]}"#,
            "1:59: /linux/namespaces/0/type: invalid value: string \"net\", expected a namespace type (pid, network, mount, ipc, uts, user, cgroup, time)",
        ),
        (r#""linux": {"namespaces": [{}]}"#, "1:50: /linux/namespaces/0: missing field `type`"),
        (
            r#""linux": {"rootfsPropagation": "sideways"}"#,
            "1:56: /linux/rootfsPropagation: invalid value: string \"sideways\", expected a mount propagation (private, rprivate, shared, rshared, slave, rslave, unbindable, runbindable)",
        ),
        (
            r#""linux": {"resources": {"devices": [{"allow": true, "access": "xa"}]}}"#,
            "1:87: /linux/resources/devices/0/access: invalid value: string \"xa\", expected letters of \"rwm\"",
        ),
        (
            r#""linux": {"resources": {"devices": [{"access": "r"}]}}"#,
            "1:61: /linux/resources/devices/0: missing field `allow`",
        ),
        (
            r#""linux": {"resources": {"blockIO": {"weight": 65536}}}"#,
            "1:71: /linux/resources/blockIO/weight: invalid value: integer `65536`, expected u16",
        ),
        (
            r#""linux": {"resources": {"memory": {"limit": 9223372036854775808}}}"#,
            "1:69: /linux/resources/memory/limit: invalid value: integer `9223372036854775808`, expected i64",
        ),
        (
            r#""linux": {"resources": {"cpu": {"shares": -2}}}"#,
            "1:67: /linux/resources/cpu/shares: invalid value: integer `-2`, expected u64",
        ),
        (
            r#""linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB", "limit": 18446744073709551616}]}}"#,
            "1:97: /linux/resources/hugepageLimits/0/limit: invalid type: floating point `1.8446744073709552e+19`, expected u64",
        ),
        (
            r#""linux": {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 4294967296}]}"#,
            "1:91: /linux/uidMappings/0/size: invalid value: integer `4294967296`, expected u32",
        ),
        (
            r#""linux": {"timeOffsets": {"boottime": {"nanosecs": -1}}}"#,
            "1:76: /linux/timeOffsets/boottime/nanosecs: invalid value: integer `-1`, expected u32",
        ),
        (
            r#""linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["x"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0}]}]}}"#,
            "1:149: /linux/seccomp/syscalls/0/args/0: missing field `op`",
        ),
    ];
    check(
        table.map(|(member, expected)| (std::format!("{{\"ociVersion\": \"1.3.0\", {member}}}"), expected.to_owned())),
    );
}

#[test]
fn text_that_is_not_json() {
    let table = [
        ("", "1:1: EOF while parsing a value"),
        ("null", "1:1: invalid type: null, expected a config object"),
        ("[]", "1:1: invalid type: sequence, expected a config object"),
        ("{}", "1:1: missing field `ociVersion`"),
        ("\n\n  {}\n", "3:3: missing field `ociVersion`"),
        ("{\"ociVersion\": \"1.3.0\"} x", "1:25: trailing characters"),
        ("{\"ociVersion\": \"1.3.0\",}", "1:24: trailing comma"),
        ("{\"ociVersion\": \"1.3.0\"", "1:22: /ociVersion: EOF while parsing an object"),
        ("{\"process\": {\"args\": [\"a\",\n\"b", "2:2: /process/args/1: EOF while parsing a string"),
        ("{\"process\": {\"args\": [\"a\" \"b\"", "1:27: /process/args/0: expected `,` or `]`"),
        (
            "{\"hostname\": \"a\nb\"}",
            "2:1: /hostname: control character (\\u0000-\\u001F) found while parsing a string",
        ),
        ("{\"hostname\": \"\\ud800\"}", "1:21: /hostname: unexpected end of hex escape"),
        ("{\"hostname\": nul}", "1:17: /hostname: expected ident"),
        ("{\"novel\": {\"a\": [0, 1, +]}}", "1:24: /novel/a/2: expected value"),
    ];
    check(table.map(|(text, expected)| (text.to_owned(), expected.to_owned())));
}

#[test]
fn text_that_is_not_utf8() {
    let error = Config::parse(b"{\"ociVersion\": \"1\",\n \"hostname\": \"\xff\"}").unwrap_err();
    assert_eq!(std::format!("{error}"), "config.json:2:15: /hostname: invalid UTF-8");
}

#[test]
fn a_key_with_a_line_feed_is_counted_where_it_is() {
    let error = Process::parse(b"{\"cwd\":\"/\",\n\n\n\"umask\":1,\"user\":\n7}").unwrap_err();
    assert_eq!((error.line, error.column, error.pointer.as_str()), (5, 1, "/user"));
    let renamed = error.in_document("p.json");
    assert_eq!(std::format!("{renamed}"), "p.json:5:1: /user: invalid type: integer `7`, expected a user object");
}

#[test]
fn deep_nesting_needs_no_deep_stack() {
    let text = "{\"novel\":".to_owned() + &"[".repeat(1_000_000);
    let error = Config::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.message, "EOF while parsing a list");
    let text = text + &"]".repeat(1_000_000) + "}";
    let error = Config::parse(text.as_bytes()).unwrap_err();
    assert_eq!(error.message, "missing field `ociVersion`");
}
