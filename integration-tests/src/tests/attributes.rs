//! What the kernel keeps of a process besides its credentials, kernel parameters, and labels.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "attributes":
    EVERYWHERE {
        scheduler_is_checked, io_priority, io_priority_is_checked, personality, memory_policy,
        memory_policy_is_checked, sysctl_of_the_host_is_refused, affinity_is_reset, exec_affinity_is_checked,
        apparmor_that_is_not_there, selinux_that_is_not_there, keyring_is_searchable, listen_fds_replace_the_config,
        sysctl_of_the_containers_own,
    }
    ROOT {
        scheduler, deadline_scheduler, sysctl, sysctl_is_not_redirected, sysctl_that_is_not_there,
        sysctl_of_a_joined_network,
    }
}

/// Policy and priority are fields 41 and 40 of /proc/PID/stat, nice is 19.
fn scheduling(stat: &str) -> [i64; 3] {
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split_whitespace().collect();
    [41, 40, 19].map(|field| fields[field - 3].parse().expect("a number"))
}

fn scheduler(t: &Context) -> Outcome {
    t.needs_root()?;
    for (scheduler, wanted) in [
        (json!({"policy": "SCHED_BATCH", "nice": 19}), [3, 0, 19]),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), [0, 0, -5]),
        (json!({"policy": "SCHED_IDLE"}), [5, 0, 0]),
        (json!({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), [3, 0, 0]),
    ] {
        let bundle = t.bundle().args(&["cat", "/proc/self/stat"]).with("/process/scheduler", scheduler.clone());
        assert_eq!(scheduling(&t.run(&bundle).ok().stdout()), wanted, "{scheduler}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// With a cpuset the kernel refuses it; the message says so.
fn deadline_scheduler(t: &Context) -> Outcome {
    let times = json!({"policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000});
    let bundle = t.bundle().args(&["cat", "/proc/self/stat"]).with("/process/scheduler", times);
    let done = t.run(&bundle);
    // A host may have given all its time away already, or none to groups.
    if !done.stderr().contains("error setting scheduler: sched_setattr") {
        assert_eq!(scheduling(&done.ok().stdout())[0], 6);
    }
    if t.host.has_controller("cpuset") && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
        let bundle = bundle.with("/linux/resources/cpu", json!({"cpus": "0"}));
        t.run(&bundle).fails_with("process scheduler can't be used together with AllowedCPUs");
    }
    Ok(())
}

fn scheduler_is_checked(t: &Context) -> Outcome {
    for (scheduler, error) in [
        (json!({"policy": "SCHED_OTHER", "nice": 20}), "invalid scheduler.nice: 20"),
        (json!({"policy": "SCHED_BATCH", "priority": 1}), "scheduler.priority can only be specified"),
        (json!({"policy": "SCHED_FIFO", "priority": 1, "runtime": 1}), "runtime/deadline/period can only be"),
        (json!({"policy": "SCHED_NONSENSE"}), "SCHED_NONSENSE"),
    ] {
        let bundle = t.bundle().with("/process/scheduler", scheduler);
        t.run(&bundle).fails_with(error);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn io_priority(t: &Context) -> Outcome {
    for (class, wanted) in [("IOPRIO_CLASS_BE", 2 << 13 | 4), ("IOPRIO_CLASS_IDLE", 3 << 13 | 4)] {
        let priority = json!({"class": class, "priority": 4});
        let bundle = t.bundle().args(&["ioprio"]).with("/process/ioPriority", priority);
        assert_eq!(t.run(&bundle).ok().value("ioprio"), wanted.to_string());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn io_priority_is_checked(t: &Context) -> Outcome {
    let priority = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    t.run(&t.bundle().with("/process/ioPriority", priority)).fails_with("invalid ioPriority.Priority: 8");
    Ok(())
}

fn personality(t: &Context) -> Outcome {
    for (domain, wanted) in [("LINUX", "00000000"), ("LINUX32", "00000008")] {
        let bundle = t.bundle().args(&["cat", "/proc/self/personality"]);
        let bundle = bundle.with("/linux/personality", json!({"domain": domain}));
        t.run(&bundle).ok().prints(&[wanted]);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn memory_policy(t: &Context) -> Outcome {
    if !fs::exists("/proc/self/numa_maps").unwrap_or(false) {
        return Err(crate::context::Skip("a kernel without NUMA".into()));
    }
    for (policy, wanted) in [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), "prefer=relative:0"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
    ] {
        let bundle = t.bundle().args(&["cat", "/proc/self/numa_maps"]).with("/linux/memoryPolicy", policy);
        let maps = t.run(&bundle).ok().stdout();
        assert_eq!(maps.split_whitespace().nth(1), Some(wanted), "{maps}");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn memory_policy_is_checked(t: &Context) -> Outcome {
    for (policy, error) in [
        (json!({}), "invalid memory policy mode"),
        (json!({"mode": "INTERLEAVE", "nodes": "0"}), "invalid memory policy mode"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"]}), "invalid memory policy flag"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND"}), "mode requires at least one node"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
    ] {
        let bundle = t.bundle().with("/linux/memoryPolicy", policy);
        t.run(&bundle).fails_with(error);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn sysctl(t: &Context) -> Outcome {
    t.needs_root()?;
    let values = json!({
        "net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "0", "kernel.shmmni": "1234",
        "fs.mqueue.msg_max": "7", "kernel.domainname": "a.domain",
    });
    let files = ["net/ipv4/ip_forward", "net/ipv4/conf/lo/forwarding", "kernel/shmmni", "fs/mqueue/msg_max"];
    let files = files.iter().chain(&["kernel/domainname"]).map(|file| format!("/proc/sys/{file}"));
    let args: Vec<String> = std::iter::once("cat".to_owned()).chain(files).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let before = fs::read("/proc/sys/kernel/shmmni").expect("procfs is mounted");
    let done = t.run(&t.bundle().args(&args).with("/linux/sysctl", values)).ok();
    assert_eq!(done.stdout(), "1\n0\n1234\n7\na.domain\n");
    assert_eq!(fs::read("/proc/sys/kernel/shmmni").expect("procfs is mounted"), before);
    Ok(())
}

/// What belongs to a namespace of the container may be set by whoever makes it.
fn sysctl_of_the_containers_own(t: &Context) -> Outcome {
    let values = json!({"kernel.shmmni": "1234", "fs.mqueue.msg_max": "7"});
    let files = ["cat", "/proc/sys/kernel/shmmni", "/proc/sys/fs/mqueue/msg_max"];
    let done = t.run(&t.bundle().args(&files).with("/linux/sysctl", values)).ok();
    assert_eq!(done.stdout(), "1234\n7\n");
    Ok(())
}

/// CVE-2025-52881: what the container mounts on /proc is not what is written to.
fn sysctl_is_not_redirected(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().args(&["cat", "/proc/sys/kernel/shmmni"]);
    let decoy = bundle.rootfs("decoy");
    fs::write(&decoy, "untouched").expect("writable");
    let tmpfs = json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"});
    let bundle = bundle.retain("/mounts", |mount| mount["destination"] != "/proc").with("/mounts/-", tmpfs);
    let bind = json!({"destination": "/proc/sys/kernel/shmmni", "source": decoy, "options": ["bind"]});
    let bundle = bundle.with("/mounts/-", bind).with("/linux/sysctl", json!({"kernel.shmmni": "1234"}));
    let bundle = bundle.with("/linux/maskedPaths", json!([])).with("/linux/readonlyPaths", json!([]));
    assert_eq!(t.run(&bundle).ok().stdout().trim(), "untouched");
    assert_eq!(fs::read_to_string(&decoy).expect("it is ours"), "untouched");
    Ok(())
}

fn sysctl_that_is_not_there(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().with("/linux/sysctl", json!({"net.no.such": "1"}));
    t.run(&bundle).fails_with("sysctl net.no.such");
    Ok(())
}

fn sysctl_of_the_host_is_refused(t: &Context) -> Outcome {
    for (name, error) in [
        ("kernel.panic", "not in a separate kernel namespace"),
        ("kernel/panic", "not in a separate kernel namespace"),
        ("vm.swappiness", "not in a separate kernel namespace"),
        ("kernel.hostname", "conflicts with the OCI"),
        ("user.max_user_namespaces", "ucounts without a user namespace"),
        ("net.//.//.kernel.panic", "no name of a sysctl"),
    ] {
        if name.starts_with("user.") && t.host.uid != 0 {
            continue;
        }
        let bundle = t.bundle().with("/linux/sysctl", json!({name: "1"}));
        t.run(&bundle).fails_with(error);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    let without = |kind: &'static str| t.bundle().retain("/linux/namespaces", move |ns: &Value| ns["type"] != kind);
    let bundle = without("network").with("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    t.run(&bundle).fails_with("not allowed in host network namespace");
    fs::remove_dir_all(bundle.path()).expect("it is ours");
    let bundle = without("ipc").with("/linux/sysctl", json!({"kernel.shmmni": "1"}));
    t.run(&bundle).fails_with("not allowed in the hosts ipc namespace");
    Ok(())
}

fn sysctl_of_a_joined_network(t: &Context) -> Outcome {
    let own = json!({"type": "network", "path": "/proc/self/ns/net"});
    let bundle = t.bundle().retain("/linux/namespaces", |ns| ns["type"] != "network");
    let bundle = bundle.with("/linux/namespaces/-", own).with("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    t.run(&bundle).fails_with("not allowed in host network namespace");
    Ok(())
}

fn affinity_is_reset(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cat", "/proc/self/status"]);
    let free = t.run(&bundle).ok().value("Cpus_allowed_list");
    let before = sched_getaffinity(None).expect("it is ours");
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).expect("we run somewhere");
    let mut one = CpuSet::new();
    one.set(first);
    sched_setaffinity(None, &one).expect("it is ours");
    let bound = t.orlop(&["run", "--bundle", bundle.path(), &t.id("d")]).end();
    sched_setaffinity(None, &before).expect("it was so before");
    assert_eq!(bound.ok().value("Cpus_allowed_list"), free);
    Ok(())
}

fn exec_affinity_is_checked(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/execCPUAffinity", json!({"initial": "0", "final": "5-3"}));
    t.run(&bundle).fails_with("invalid CPU list");
    Ok(())
}

fn apparmor_that_is_not_there(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/apparmorProfile", json!("no-such-profile"));
    t.run(&bundle).fails_with("no-such-profile");
    Ok(())
}

fn selinux_that_is_not_there(t: &Context) -> Outcome {
    let bundle = t.bundle().with("/process/selinuxLabel", json!("no:such:label:s0"));
    t.run(&bundle).fails_with("no:such:label:s0");
    Ok(())
}

/// runc's getSessionRingParams: whoever has the uid may search it. The permissions are the fourth column's.
fn keyring_is_searchable(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["cat", "/proc/keys"]).with("/linux/maskedPaths", json!([]));
    let done = t.run(&bundle).ok();
    let name = format!("_ses.{}", t.id("c"));
    let keys = done.stdout();
    let Some(line) = keys.lines().find(|line| line.contains(&name)) else {
        panic!("no {name} in {keys}");
    };
    let permissions = line.split_whitespace().nth(4).expect("permissions");
    let permissions = u32::from_str_radix(permissions, 16).expect("a number");
    let wanted = if t.host.uid == 0 { 0x80000 } else { 0x8 };
    assert_eq!(permissions & wanted, wanted, "{line}");
    Ok(())
}

fn listen_fds_replace_the_config(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["env"]).with("/process/env", json!(["PATH=/bin", "LISTEN_FDS=7", "LISTEN_PID=9"]));
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).env("LISTEN_FDS", "1");
    let env = run.through_bash("exec 3</etc/passwd; export LISTEN_PID=$$; exec \"$@\"").end().ok().values("env");
    let of_listen: Vec<&String> = env.iter().filter(|entry| entry.starts_with("LISTEN_")).collect();
    assert_eq!(of_listen, ["LISTEN_FDS=1", "LISTEN_PID=1"]);
    Ok(())
}
