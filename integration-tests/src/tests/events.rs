//! `events`: what a container uses, what becomes of its memory, and its end.

use serde_json::{Value, json};

use crate::context::Context;
use crate::host::Layout;
use crate::tests::control::{path, sleeping};
use crate::tests::{Outcome, tests};

tests! { "events":
    ROOT { once, until_the_end, of_a_stopped_one }
    LIMITS { of_memory, statistics_without_limits }
}

fn once(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    let done = t.orlop(&["events", "--stats", &id]).end().ok();
    assert!(done.stdout().starts_with(&format!("{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":{{\"cpu\":")));
    assert_eq!(done.stdout().lines().count(), 1);
    let data = &done.json()["data"];
    assert_eq!(data["pids"]["current"], 1, "{data}");
    if t.needs_controller("memory").is_ok() {
        assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{data}");
        assert!(data["memory"]["raw"].is_object(), "{data}");
    }
    if t.host.layout == Layout::V2 && std::path::Path::new("/proc/pressure/cpu").exists() {
        assert!(data["cpu"]["psi"]["some"]["avg10"].is_number(), "{data}");
    }
    t.delete(&id);
    Ok(())
}

fn until_the_end(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    // While one looks often, another does not look yet.
    let seldom = t.orlop(&["events", "--interval", "1h", &id]).start();
    let mut events = t.orlop(&["events", "--interval", "20ms", &id]).start();
    t.wait_for_output_of(&mut events, "\n{\"type\":\"stats\",");
    t.wait_until("ten looks", || events.output().stdout().lines().count() >= 10);
    assert_eq!(seldom.output().stdout(), "");
    t.delete(&id);
    seldom.end().ok();
    let done = events.end().ok();
    for line in done.stdout().lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"));
        assert_eq!((&record["type"], &record["id"]), (&json!("stats"), &json!(id)));
    }
    Ok(())
}

fn of_memory(t: &Context) -> Outcome {
    t.needs_root()?;
    t.needs_controller("memory")?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["alloc", "268435456"]).with("/linux/cgroupsPath", path(t, &id));
    let limit = json!({"limit": 33_554_432, "swap": 33_554_432});
    t.create(&bundle.with("/linux/resources/memory", limit), &id).ok();
    let mut events = t.orlop(&["events", "--interval", "50ms", &id]).start();
    t.wait_for_output_of(&mut events, "\"stats\"");
    t.orlop(&["start", &id]).end().ok();
    t.wait_for_output_of(&mut events, &format!("{{\"type\":\"oom\",\"id\":\"{id}\"}}\n"));
    t.wait_for(&id, "stopped");
    t.orlop(&["delete", &id]).end().ok();
    events.end().ok();
    Ok(())
}

fn of_a_stopped_one(t: &Context) -> Outcome {
    let id = t.stopped();
    t.orlop(&["events", "--stats", &id]).end().fails_with("is not running");
    t.orlop(&["events", "--interval", "0s", &id]).end().exits(1);
    t.orlop(&["delete", &id]).end().ok();
    Ok(())
}

/// Engines read the files of controllers that limit nothing.
fn statistics_without_limits(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    sleeping(t, &id);
    for (controller, v1, v2) in [
        ("memory", "memory.usage_in_bytes", "memory.current"),
        ("pids", "pids.current", "pids.current"),
        ("cpu", "cpu.stat", "cpu.max"),
    ] {
        if t.needs_controller(controller).is_err() {
            continue;
        }
        let dir = t.cgroup_of(t.pid(&id), controller);
        let file = dir.join(if t.host.layout == Layout::V1 { v1 } else { v2 });
        assert!(file.exists(), "{}", file.display());
    }
    t.delete(&id);
    Ok(())
}
