//! `--trace`: where the time of a call goes.

use std::fs;

use serde_json::Value;

use crate::context::Context;
use crate::tests::{Outcome, tests};
use crate::tracer::children_left;

tests! { "trace":
    EVERYWHERE { a_run, callers_context, unusable_file }
    ROOT { every_verb }
}

fn lines(t: &Context) -> Vec<Value> {
    let text = fs::read_to_string(t.dir().join("trace")).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// The call with a trace; the lines that it wrote.
fn traced(t: &Context, call: &[&str]) -> Vec<Value> {
    let file = t.dir().join("trace");
    let _old = fs::remove_file(&file);
    let option = ["--trace", file.to_str().expect("a plain path")];
    t.orlop(&[&option, call].concat()).end().ok();
    lines(t)
}

fn names<'a>(lines: &'a [Value], who: &str) -> Vec<&'a str> {
    lines.iter().filter(|line| line["who"] == who).filter_map(|line| line["name"].as_str()).collect()
}

/// Every part has its place in the whole: the last line.
fn a_run(t: &Context) -> Outcome {
    let id = t.id("c");
    let lines = traced(t, &["run", "--bundle", t.bundle().path(), &id]);
    let (whole, parts) = lines.split_last().expect("there are lines");
    assert_eq!((whole["name"].as_str(), whole["status"].as_i64()), (Some("orlop run"), Some(0)));
    assert_eq!(whole["trace_id"].as_str().map(str::len), Some(32));
    assert!(whole.get("parent_span_id").is_none());
    let at = |line: &Value| {
        let start = line["start_unix_ns"].as_u64().expect("a number");
        (start, start + line["duration_ns"].as_u64().expect("a number"))
    };
    let (first, last) = at(whole);
    assert!(last > first);
    let mut ids: Vec<&str> = lines.iter().filter_map(|line| line["span_id"].as_str()).collect();
    for part in parts {
        assert_eq!((&part["trace_id"], &part["parent_span_id"]), (&whole["trace_id"], &whole["span_id"]), "{part}");
        assert_eq!(part["container"], id.as_str());
        let (from, to) = at(part);
        assert!(first <= from && to <= last, "{part} in {whole}");
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len(), "each has its own id");
    let init = names(parts, "init");
    for name in ["pivot", "capabilities", "sethostname"] {
        assert!(init.contains(&name), "{init:?}");
    }
    let hostname = parts.iter().find(|line| line["name"] == "sethostname").expect("it is there");
    assert_eq!((hostname["phase"].as_str(), hostname["origin"].as_str()), (Some("namespaces"), Some("/hostname")));
    let runtime = names(parts, "runtime");
    for name in ["parse", "plan", "state-directory", "clone", "record", "wait", "state-remove"] {
        assert!(runtime.contains(&name), "{runtime:?}");
    }
    Ok(())
}

/// See <https://www.w3.org/TR/trace-context/>. One that is none is passed over.
fn callers_context(t: &Context) -> Outcome {
    let file = t.dir().join("trace");
    let path = file.to_str().expect("a plain path");
    let (id, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    for (given, wanted) in [(format!("00-{id}-{span}-01"), Some(span)), (format!("00-{id}-x-01"), None)] {
        let _old = fs::remove_file(&file);
        t.orlop(&["--trace", path, "list"]).env("TRACEPARENT", &given).end().ok();
        let lines = lines(t);
        let whole = lines.last().expect("there are lines");
        assert_eq!(whole["parent_span_id"].as_str(), wanted);
        assert_eq!(whole["trace_id"] == id, wanted.is_some());
        assert_eq!(whole["name"], "orlop list");
    }
    Ok(())
}

fn unusable_file(t: &Context) -> Outcome {
    t.orlop(&["--trace", "/no/such/file", "list"]).end().exits(1).fails_with("--trace: open /no/such/file");
    t.orlop(&["--trace", "/dev/full", "list"]).end().exits(1).fails_with("the trace");
    Ok(())
}

fn every_verb(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let id = t.id("c");
    let has = |lines: &[Value], wanted: &[&str]| {
        let all: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
        for name in wanted {
            assert!(all.contains(name), "no {name} in {all:?}");
        }
    };
    has(
        &traced(t, &["create", "--bundle", bundle.path(), &id]),
        &["await-init", "pivot", "find-program", "orlop create"],
    );
    has(&traced(t, &["start", &id]), &["await-program", "orlop start"]);
    let exec = ["find-init", "read-state", "clone", "join-namespace", "bounding", "wait", "orlop exec"];
    has(&traced(t, &["exec", &id, "/bin/probe", "true"]), &exec);
    has(&traced(t, &["exec", "--detach", &id, "/bin/probe", "true"]), &["await-program", "join-namespace"]);
    // Its parent is gone: it is ours to reap, and until then its pid namespace cannot end.
    std::thread::sleep(std::time::Duration::from_millis(300));
    children_left();
    has(&traced(t, &["delete", "--force", &id]), &["end-init", "state-remove", "orlop delete"]);
    Ok(())
}
