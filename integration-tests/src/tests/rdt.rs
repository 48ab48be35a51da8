//! Classes of service, in a directory that stands in for resctrl: few machines have the real one.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Orlop;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "rdt":
    HOST_ROOT {
        class_of_its_own, class_that_is_named, class_that_was_there, schemata_that_differ, monitoring_group, root_class,
        failure_leaves_no_class, executed_processes_join, update_changes_the_class, events_tell_of_the_class, host_without_it, names_are_checked,
    }
}

/// A directory with what of resctrl is read.
fn resctrl(t: &Context) -> PathBuf {
    let root = t.dir().join("resctrl");
    for name in ["info/L3", "info/MB", "mon_groups"] {
        fs::create_dir_all(root.join(name)).expect("writable");
    }
    fs::write(root.join("info/last_cmd_status"), "ok\n").expect("writable");
    root
}

fn with(orlop: Orlop, root: &Path) -> Orlop {
    orlop.env("ORLOP_RESCTRL", root.to_str().expect("a plain path"))
}

fn bundle(t: &Context, rdt: Value) -> Bundle {
    t.bundle().with("/linux/intelRdt", rdt)
}

fn create(t: &Context, bundle: &Bundle, id: &str, root: &Path) -> crate::command::Done {
    with(t.orlop(&["create", "--bundle", bundle.path(), id]), root).end()
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn class_of_its_own(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let rdt =
        json!({"memBwSchema": "MB:0=20;1=70", "l3CacheSchema": "L3:0=7f0;1=1f", "schemata": ["L2:0=f", "L2:1=3"]});
    create(t, &bundle(t, rdt), &id, &root).ok();
    let class = root.join(&id);
    assert_eq!(text(class.join("tasks")), t.pid(&id).to_string());
    assert_eq!(text(class.join("schemata")), "L3:0=7f0;1=1f\nMB:0=20;1=70\nL2:0=f\nL2:1=3\n");
    t.delete(&id);
    assert!(!class.exists());
    Ok(())
}

/// It outlives the container.
fn class_that_is_named(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let bundle = bundle(t, json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}));
    create(t, &bundle, &id, &root).ok();
    t.delete(&id);
    assert_eq!(text(root.join("gold/schemata")), "L3:0=f\n");
    // And a second one finds it as it wants it.
    create(t, &bundle, &id, &root).ok();
    t.delete(&id);
    Ok(())
}

fn class_that_was_there(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let bundle = bundle(t, json!({"closID": "gold"}));
    create(t, &bundle, &id, &root).fails_with("the class of service \"gold\" does not exist");
    fs::create_dir(root.join("gold")).expect("writable");
    create(t, &bundle, &id, &root).ok();
    assert_eq!(text(root.join("gold/tasks")), t.pid(&id).to_string());
    assert!(!root.join("gold/schemata").exists(), "nothing is to be written there");
    t.delete(&id);
    assert!(root.join("gold").exists());
    Ok(())
}

fn schemata_that_differ(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    fs::create_dir(root.join("gold")).expect("writable");
    fs::write(root.join("gold/schemata"), "    L3:0=00f;1=ff\n    MB:0= 20\n").expect("writable");
    for (line, same) in [("L3:1=FF;0=f", true), ("L3:0=e", false), ("MB:0=20", true), ("MB:1=20", false)] {
        let rdt = json!({"closID": "gold", "schemata": [line]});
        let before = text(root.join("gold/schemata"));
        let done = create(t, &bundle(t, rdt), &id, &root);
        if same {
            done.ok();
            t.delete(&id);
            fs::write(root.join("gold/schemata"), before).expect("writable");
        } else {
            done.fails_with("exists, and has another value than");
            assert_eq!(text(root.join("gold/schemata")), before);
        }
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

fn monitoring_group(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    fs::create_dir_all(root.join("gold/mon_groups")).expect("writable");
    create(t, &bundle(t, json!({"closID": "gold", "enableMonitoring": true})), &id, &root).ok();
    let group = root.join("gold/mon_groups").join(&id);
    assert_eq!(text(group.join("tasks")), t.pid(&id).to_string());
    t.delete(&id);
    assert!(!group.exists() && root.join("gold/mon_groups").exists());
    Ok(())
}

fn root_class(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    create(t, &bundle(t, json!({"closID": "/", "enableMonitoring": true})), &id, &root).ok();
    assert_eq!(text(root.join("tasks")), t.pid(&id).to_string());
    assert_eq!(text(root.join("mon_groups").join(&id).join("tasks")), t.pid(&id).to_string());
    t.delete(&id);
    assert!(!root.join("mon_groups").join(&id).exists());
    Ok(())
}

/// And the kernel's reason is told.
fn failure_leaves_no_class(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let bundle = bundle(t, json!({"l3CacheSchema": "L3:0=f"})).args(&["no-such-command"]);
    let hooked = bundle.with("/hooks/createRuntime/-", json!({"path": "/bin/false"}));
    create(t, &hooked, &id, &root).fails_with("hook");
    assert!(!root.join(&id).exists());
    fs::create_dir_all(root.join("gold/schemata")).expect("writable");
    fs::write(root.join("info/last_cmd_status"), "Mask 0 out of range\n").expect("writable");
    let named = hooked.with("/linux/intelRdt", json!({"closID": "gold", "l3CacheSchema": "L3:0=0"}));
    create(t, &named, &id, &root).fails_with("last_cmd_status: Mask 0 out of range");
    Ok(())
}

fn executed_processes_join(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let bundle = bundle(t, json!({"l3CacheSchema": "L3:0=f"})).args(&["sleep", "600"]);
    with(t.orlop(&["run", "--detach", "--bundle", bundle.path(), &id]), &root).end().ok();
    let init = text(root.join(&id).join("tasks"));
    t.orlop(&["exec", &id, "/bin/probe", "true"]).end().ok();
    let executed = text(root.join(&id).join("tasks"));
    assert!(executed != init && executed.parse::<u32>().is_ok(), "{executed}");
    t.delete(&id);
    Ok(())
}

fn update_changes_the_class(t: &Context) -> Outcome {
    let (root, id) = (resctrl(t), t.id("c"));
    let class = bundle(t, json!({"l3CacheSchema": "L3:0=f"})).args(&["sleep", "600"]);
    create(t, &class, &id, &root).ok();
    t.orlop(&["update", "--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=50", &id]).end().ok();
    assert_eq!(text(root.join(&id).join("schemata")), "L3:0=3\nMB:0=50\n");
    fs::remove_dir(root.join("info/MB")).expect("it is ours");
    let lacking = t.orlop(&["update", "--mem-bw-schema", "MB:0=60", &id]).end();
    lacking.fails_with("Intel RDT/MBA: memory bandwidth schema is not enabled");
    t.delete(&id);
    fs::remove_dir_all(class.path()).expect("it is ours");
    let plain = t.bundle();
    t.create(&plain, &id).ok();
    let update = t.orlop(&["update", "--l3-cache-schema", "L3:0=3", &id]);
    with(update, &root).end().fails_with("made without intelRdt");
    t.delete(&id);
    Ok(())
}

/// As runc prints them; of the container's own monitoring group where it has one.
fn events_tell_of_the_class(t: &Context) -> Outcome {
    let root = resctrl(t);
    let file = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
        fs::write(path, text).expect("writable");
    };
    for (path, text) in [
        ("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100\n"),
        ("gold/schemata", "    L3:0=f;1=ff\n    MB:0= 20\n"),
        ("info/L3/cbm_mask", "fffff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
    ] {
        file(path, text);
    }
    let allocated = json!({
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 2, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=f;1=ff",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100",
        "mem_bw_schema": "MB:0= 20",
        "schemata": ["L3:0=f;1=ff", "    MB:0= 20"],
    });
    let monitored = |mut stats: Value, more: Value| {
        stats.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        stats
    };
    let tell = |id: &str| {
        let done = t.orlop(&["events", "--stats", id]).end().ok();
        let record: Value = serde_json::from_str(&done.stdout()).expect("it is JSON");
        record["data"]["intel_rdt"].clone()
    };
    let (of_class, own, none) = (t.id("class"), t.id("own"), t.id("none"));
    create(t, &bundle(t, json!({"closID": "gold"})), &of_class, &root).ok();
    assert_eq!(tell(&of_class), allocated);
    // What the processor counts is in a file; what it does not count is zero.
    file("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n");
    for (domain, occupied, total) in [("01", 7, 70), ("00", 5, 50)] {
        file(&format!("gold/mon_data/mon_L3_{domain}/llc_occupancy"), &format!("{occupied}\n"));
        file(&format!("gold/mon_data/mon_L3_{domain}/mbm_total_bytes"), &format!("{total}\n"));
    }
    let more = json!({
        "mbm_stats": [
            {"mbm_total_bytes": 50, "mbm_local_bytes": 0}, {"mbm_total_bytes": 70, "mbm_local_bytes": 0}
        ],
        "cmt_stats": [{"llc_occupancy": 5}, {"llc_occupancy": 7}],
    });
    assert_eq!(tell(&of_class), monitored(allocated.clone(), more));
    t.delete(&of_class);
    fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");

    fs::create_dir_all(root.join("gold/mon_groups")).expect("writable");
    let rdt = json!({"closID": "gold", "enableMonitoring": true});
    create(t, &bundle(t, rdt), &own, &root).ok();
    file("info/L3_MON/mon_features", "mbm_local_bytes\n");
    let data = format!("gold/mon_groups/{own}/mon_data");
    file(&format!("{data}/mon_L3_00/mbm_local_bytes"), "Unavailable\n");
    t.orlop(&["events", "--stats", &own]).end().fails_with("\"Unavailable\" is no number");
    file(&format!("{data}/mon_L3_00/mbm_local_bytes"), "9\n");
    let more = json!({"mbm_stats": [{"mbm_total_bytes": 0, "mbm_local_bytes": 9}]});
    assert_eq!(tell(&own), monitored(allocated, more));
    fs::remove_dir_all(root.join(&data)).expect("it is ours");
    t.delete(&own);
    fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");

    t.create(&t.bundle(), &none).ok();
    assert_eq!(tell(&none), json!({}));
    t.delete(&none);
    Ok(())
}

fn host_without_it(t: &Context) -> Outcome {
    if Path::new("/sys/fs/resctrl").exists() {
        return Err(crate::context::Skip("the host has resctrl".into()));
    }
    t.run(&bundle(t, json!({"closID": "gold"})))
        .fails_with("intelRdt is specified in config, but Intel RDT is not enabled");
    let root = resctrl(t);
    for (name, line, error) in [
        ("L3", "l3CacheSchema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("MB", "memBwSchema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
        fs::remove_dir(root.join("info").join(name)).expect("it is ours");
        create(t, &bundle(t, json!({line: format!("{name}:0=1")})), &t.id("c"), &root).fails_with(error);
    }
    Ok(())
}

fn names_are_checked(t: &Context) -> Outcome {
    for (rdt, error) in [
        (json!({"closID": "a/b"}), "invalid intelRdt.ClosID"),
        (json!({"closID": ".."}), "invalid intelRdt.ClosID"),
        (json!({"memBwSchema": "L3:0=1"}), "memBwSchema must start with MB:"),
        (json!({"schemata": ["L3:0=1\nMB:0=1"]}), "a schema is one line"),
    ] {
        t.run(&bundle(t, rdt)).fails_with(error);
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}
