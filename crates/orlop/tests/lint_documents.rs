//! What `lint` finds in whole documents: the shipped ones, and all that are the full one with something taken away; and
//! the forms of its output.

use std::fs;
use std::path::{Path, PathBuf};

use orlop::config::Config;
use orlop::lint::{self, Finding, Severity};
use orlop::plan;
use serde_json::{Value, json};

mod common;
use common::linted::{lines, options};
use common::{V2, host};

/// A text that is no JSON has one fault: where it stops to be.
#[test]
fn no_json() {
    let found = |text: &[u8]| lint::check(text, &host(V2), &options());
    assert_eq!(lines(&found(b"{\"a\": }")), ["error: /a: expected value"]);
    assert_eq!(lines(&found(b"")), ["error: : EOF while parsing a value"]);
    assert_eq!(lines(&found(b"{\"ociVersion\": \"\xff\"}")), ["error: /ociVersion: invalid UTF-8"]);
    assert_eq!(lines(&found(b"[]")), ["error: : invalid type: sequence, expected a config object"]);
    let twice = found(b"{\"ociVersion\": \"1.3.0\",\n \"hostname\": \"a\",\n \"hostname\": \"b\"}");
    let duplicate = twice.iter().find(|f| f.message.contains("duplicate")).expect("it is found");
    assert_eq!((duplicate.line, duplicate.severity), (3, Severity::Error));
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

/// What engines write, and what `spec` does, is sound: an error there would be ours.
#[test]
fn shipped_configurations_have_no_error() {
    let mut paths = files("contract");
    assert!(paths.len() > 10);
    paths.extend(
        files("config").into_iter().filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("example-")),
    );
    paths.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/bundles/demo/config.json"));
    for path in paths {
        let text = fs::read(&path).unwrap();
        // The ids of some are those of a user that runs without root.
        let mut findings = lint::check(&text, &host(V2), &options());
        findings.retain(|finding| finding.severity == Severity::Error);
        assert!(findings.is_empty(), "{}: {}", path.display(), lint::text("", &findings));
    }
}

/// An error of `lint` is one of `create` and the other way round, whatever is taken away from a configuration that
/// says everything, and the first one of `create` is among them.
#[test]
fn create_fails_with_what_lint_finds() {
    fn cut(value: &Value, pointer: &str, edits: &mut Vec<(String, Value)>) {
        let members: Vec<(String, &Value)> = match value {
            Value::Object(map) => {
                map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
            }
            Value::Array(list) => list.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        for (key, member) in members {
            let place = format!("{pointer}/{key}");
            edits.extend([Value::Null, json!("\u{0}")].map(|value| (place.clone(), value)));
            cut(member, &place, edits);
        }
    }
    let text = fs::read(files("config").into_iter().find(|path| path.ends_with("full.json")).unwrap()).unwrap();
    let full: Value = serde_json::from_slice(&text).unwrap();
    let mut edits = vec![("/none".to_owned(), Value::Null)];
    cut(&full, "", &mut edits);
    assert!(edits.len() > 400);
    for (pointer, value) in edits {
        let mut config = full.clone();
        if let Some(place) = config.pointer_mut(&pointer) {
            *place = value.clone();
        }
        let text = config.to_string();
        let created = Config::parse(text.as_bytes())
            .map_err(|error| (error.pointer.clone(), error.message.clone()))
            .and_then(|config| {
                let planned = plan::plan(&config, &host(V2), &options());
                planned.map(drop).map_err(|e| (e.origin().unwrap_or_default().to_owned(), e.reason().to_owned()))
            });
        let findings = lint::check(text.as_bytes(), &host(V2), &options());
        let errors: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
        let shown = || format!("{pointer} = {value}: {created:?}, {}", lint::text("", &findings));
        assert_eq!(created.is_err(), !errors.is_empty(), "{}", shown());
        if let Err((place, why)) = &created {
            let is_it =
                |f: &&&Finding| f.pointer.starts_with(place) && (f.message == *why || why.starts_with("missing field"));
            assert!(errors.iter().find(is_it).is_some(), "{}", shown());
        }
    }
}

/// The output's forms.
#[test]
fn output() {
    let text = br#"{"ociVersion": "1.3.0", "hostnam": "a", "process": {"cwd": "/"}, "root": {"path": "r"}, "linux": {"namespaces": [{"type": "mount"}]}}"#;
    let findings = lint::check(text, &host(V2), &options());
    assert_eq!(
        lint::text("config.json", &findings),
        "config.json:1:36: warning: /hostnam: unknown member \"hostnam\", which is ignored; did you mean \"hostname\"?\n\
         config.json:1:52: error: /process/args: args must not be empty\n\
         1 error, 1 warning\n"
    );
    let value: Value = serde_json::from_str(&lint::json(&findings)).unwrap();
    assert_eq!(
        value[1],
        json!({"severity": "error", "pointer": "/process/args", "line": 1, "column": 52, "message": "args must not be empty", "hint": null})
    );
    assert_eq!(serde_json::from_str::<Value>(&lint::json(&[])).unwrap(), json!([]));
}
