//! list: tables, JSON, ids, and broken state.

use std::fs;

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "list":
    EVERYWHERE {
        table, quiet, json_array, empty_root, missing_root, unknown_format, survives_broken_state,
        many,
    }
}

fn table(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["sleep", "600"]);
    let (first, second) = (t.id("a"), t.id("b"));
    t.detach(&bundle, &first);
    t.create(&bundle, &second).ok();
    let pids = [t.pid(&first), t.pid(&second)];
    for args in [["list"].as_slice(), &["list", "--format", "table"], &["list", "-f=table"]] {
        let text = t.orlop(args).end().ok().stdout();
        let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], "{text}");
        for (row, (id, pid, status)) in
            rows[1..].iter().zip([(&first, pids[0], "running"), (&second, pids[1], "created")])
        {
            let pid = pid.to_string();
            assert_eq!(row[..4], [id.as_str(), &pid, status, bundle.path()], "{text}");
            assert!(row[4].ends_with('Z'), "{text}");
        }
        assert_eq!(rows.len(), 3, "{text}");
    }
    t.delete(&first);
    t.delete(&second);
    Ok(())
}

fn quiet(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let ids = [t.id("a"), t.id("b"), t.id("c")];
    for id in &ids {
        t.create(&bundle, id).ok();
    }
    for option in ["-q", "--quiet"] {
        t.orlop(&["list", option]).end().ok().prints(&ids.each_ref().map(String::as_str));
    }
    for id in &ids {
        t.delete(id);
    }
    Ok(())
}

fn json_array(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let id = t.id("c");
    t.create(&bundle, &id).ok();
    let list = t.orlop(&["list", "--format", "json"]).end().ok().json();
    assert_eq!(list.as_array().expect("an array").len(), 1);
    let (entry, state) = (&list[0], t.state(&id));
    assert!(entry["owner"].as_str().is_some_and(|name| !name.is_empty()), "{entry}");
    for key in ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"] {
        assert_eq!(entry[key], state[key], "{key}");
        assert!(!entry[key].is_null(), "no {key} in {entry}");
    }
    t.delete(&id);
    Ok(())
}

fn empty_root(t: &Context) -> Outcome {
    let json = t.orlop(&["list", "-f", "json"]).end().ok().json();
    assert!(json.is_null() || json.as_array().is_some_and(Vec::is_empty), "{json}");
    t.orlop(&["list", "-q"]).end().ok().prints(&[]);
    Ok(())
}

fn missing_root(t: &Context) -> Outcome {
    let done = t.bare_orlop(&["--root", "/no/such/root", "list"]).end();
    assert!(done.code() > 0 && done.stderr().contains("no such file"), "{}", done.stderr());
    Ok(())
}

fn unknown_format(t: &Context) -> Outcome {
    t.orlop(&["list", "--format", "yaml"]).end().fails_with("format");
    Ok(())
}

/// A folder that is no container, one that is half made, and a file.
fn survives_broken_state(t: &Context) -> Outcome {
    let id = t.id("good");
    t.create(&t.bundle(), &id).ok();
    let root = t.dir().join("root");
    fs::create_dir(root.join("empty")).expect("writable");
    fs::create_dir(root.join("garbage")).expect("writable");
    fs::write(root.join("garbage/state.json"), "{\"id\":").expect("writable");
    fs::write(root.join("file"), "").expect("writable");
    t.orlop(&["list", "-q"]).end().ok().prints(&[&id]);
    for name in ["empty", "garbage"] {
        fs::remove_dir_all(root.join(name)).expect("it is ours");
    }
    fs::remove_file(root.join("file")).expect("it is ours");
    t.delete(&id);
    Ok(())
}

fn many(t: &Context) -> Outcome {
    let bundle = t.bundle();
    let ids: Vec<String> = (0..25).map(|i| t.id(&format!("c{i:02}"))).collect();
    for id in &ids {
        t.create(&bundle, id).ok();
    }
    let words: Vec<&str> = ids.iter().map(String::as_str).collect();
    t.orlop(&["list", "-q"]).end().ok().prints(&words);
    for id in &ids {
        t.delete(id);
    }
    Ok(())
}
