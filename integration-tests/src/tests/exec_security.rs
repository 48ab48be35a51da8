//! What further processes in a container may, and what a hostile container can see and keep of them.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::Bundle;
use crate::context::{Context, Skip};
use crate::engines::until;
use crate::tests::exec::{SLEEP, exec, sleeper};
use crate::tests::users::mapped;
use crate::tests::{Outcome, tests};

tests! { "exec":
    EVERYWHERE { callers_descriptors_stay_outside, cwd_outside_of_the_root, keyring_is_the_containers, hostile_tracer_sees_no_host }
    ROOT { user_forms, capability_sets, many_in_a_row, many_at_once, hostile_container_sees_nothing }
    HOST_ROOT { the_hosts_root_is_never_entered }
    APPARMOR { apparmor }
}

/// Profiles of AppArmor, loaded as long as this lives.
pub struct Profiles(String);

impl Profiles {
    pub fn load(names: &[&str]) -> Result<Profiles, Skip> {
        let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
        if !enabled.is_ok_and(|enabled| enabled.trim() == "Y") {
            return Err(Skip("no AppArmor".into()));
        }
        let rules = "flags=(attach_disconnected,mediate_deleted) { file, signal, capability, mount, network, unix, }";
        let text: String = names.iter().map(|name| format!("profile {name} {rules}\n")).collect();
        Self::parse(&text, "--replace");
        Ok(Profiles(text))
    }

    fn parse(text: &str, how: &str) {
        use std::io::Write;
        let mut parser = std::process::Command::new("apparmor_parser");
        let mut child = parser.arg(how).stdin(std::process::Stdio::piped()).spawn().expect("it is installed");
        child.stdin.take().expect("it is a pipe").write_all(text.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        Self::parse(&self.0, "--remove");
    }
}

/// The container's profile, or the one that is asked for; and the kernel's no to one that is not there.
fn apparmor(t: &Context) -> Outcome {
    let (own, other) = (t.id("own"), t.id("other"));
    let _profiles = Profiles::load(&[&own, &other])?;
    let id = t.id("c");
    let said = |options: &[&str]| {
        let done = t.orlop(&exec(options, &id, &["cat", "/proc/self/attr/current"])).end().ok();
        done.stdout().trim().to_owned()
    };
    t.detach(&t.bundle().args(SLEEP).with("/process/apparmorProfile", json!(own)), &id);
    assert_eq!(said(&[]), format!("{own} (enforce)"));
    assert_eq!(said(&["--apparmor", &other]), format!("{other} (enforce)"));
    let file = t.dir().join("process.json");
    let args = ["/bin/probe", "cat", "/proc/self/attr/current"];
    let process = json!({"args": args, "cwd": "/", "apparmorProfile": other});
    fs::write(&file, process.to_string()).expect("the test's folder is writable");
    let done = t.orlop(&["exec", "--process", file.to_str().expect("a plain path"), &id]).end().ok();
    assert_eq!(done.stdout().trim(), format!("{other} (enforce)"));
    t.orlop(&exec(&["--apparmor", "nobodys"], &id, &["true"])).end().exits(255).fails_with("nobodys");
    t.delete(&id);
    let id = t.id("d");
    t.detach(&t.bundle_again().args(SLEEP), &id);
    let done = t.orlop(&exec(&["--apparmor", &other], &id, &["cat", "/proc/self/attr/current"])).end().ok();
    assert_eq!(done.stdout().trim(), format!("{other} (enforce)"));
    t.delete(&id);
    Ok(())
}

/// Also while the process is on its way: see `hostile_container_sees_nothing`.
fn callers_descriptors_stay_outside(t: &Context) -> Outcome {
    let id = sleeper(t);
    let call = t.orlop(&exec(&[], &id, &["fds"]));
    let done = call.through_bash("exec 3</etc/hostname 17</dev/zero; exec \"$@\"").end().ok();
    let lines = done.stdout().lines().count();
    assert_eq!(lines, 3, "{}", done.stdout());
    t.delete(&id);
    Ok(())
}

/// CVE-2024-21626.
fn cwd_outside_of_the_root(t: &Context) -> Outcome {
    let id = sleeper(t);
    for fd in 3..24 {
        let cwd = format!("/proc/self/fd/{fd}");
        let call = t.orlop(&exec(&["--cwd", &cwd], &id, &["cwd"]));
        call.through_bash("exec 7</ 8</etc; exec \"$@\"").end().exits(255);
    }
    t.delete(&id);
    Ok(())
}

/// CVE-2026-30892, CVE-2024-40635: nothing but two numbers that are ids.
fn user_forms(t: &Context) -> Outcome {
    let bundle = t.bundle().args(SLEEP);
    bundle.file("etc/passwd", b"root:x:0:0::/root:/x\n1000:x:0:0::/trap:/x\nu:x:1000:1000::/home/u:/x\n", 0o644);
    let id = t.id("c");
    t.detach(&bundle, &id);
    for user in ["name", "-1", "4294967295", "4294967296", "1:", ":1", "1:name", "1:2:3", "0x1", "1 "] {
        t.orlop(&exec(&["--user", user], &id, &["id"])).end().exits(255);
    }
    let done = t.orlop(&exec(&["--user", "1000"], &id, &["id", "--", "env"])).end().ok();
    assert_eq!((done.value("uid").as_str(), done.value("gid").as_str()), ("1000", "0"));
    assert!(done.values("env").contains(&"HOME=/home/u".to_owned()), "{}", done.stdout());
    let done = t.orlop(&exec(&["--user", "2147483648:4294967294"], &id, &["id"])).end().ok();
    assert_eq!((done.value("uid").as_str(), done.value("gid").as_str()), ("2147483648", "4294967294"));
    t.delete(&id);
    Ok(())
}

/// CVE-2022-29162: what --cap adds is not inheritable, and ambient only if it is.
fn capability_sets(t: &Context) -> Outcome {
    let kill = json!(["CAP_KILL"]);
    let both = json!(["CAP_KILL", "CAP_CHOWN"]);
    let sets = json!({"bounding": both, "effective": both, "permitted": both, "inheritable": kill, "ambient": []});
    let id = t.id("c");
    t.detach(&t.bundle().args(SLEEP).with("/process/capabilities", sets), &id);
    let done = t.orlop(&exec(&["-u", "5", "-c", "CAP_SYS_TIME"], &id, &["caps"])).end().ok();
    for (key, wanted) in [("CapInh", "20"), ("CapAmb", "0"), ("CapEff", "0"), ("CapBnd", "2000021")] {
        assert_eq!(done.value(key).trim_start_matches('0'), wanted.trim_start_matches('0'), "{key}");
    }
    let done = t.orlop(&exec(&["-u", "5", "-c", "CAP_KILL"], &id, &["caps"])).end().ok();
    for (key, wanted) in [("CapInh", "20"), ("CapAmb", "20"), ("CapEff", "20")] {
        assert_eq!(done.value(key).trim_start_matches('0'), wanted, "{key}");
    }
    t.delete(&id);
    Ok(())
}

/// `--no-new-keyring` holds for further processes as well.
fn keyring_is_the_containers(t: &Context) -> Outcome {
    for (option, own) in [(None, true), (Some("--no-new-keyring"), false)] {
        let id = t.id(if own { "c" } else { "d" });
        let name = if own { t.bundle() } else { t.bundle_again() };
        let bundle = name.args(SLEEP).with("/linux/maskedPaths", json!([]));
        let call = ["run", "--detach", "--bundle", bundle.path()].into_iter().chain(option).chain([&*id]);
        t.orlop(&call.collect::<Vec<_>>()).end().ok();
        let keys = t.orlop(&exec(&[], &id, &["cat", "/proc/keys"])).end().ok().stdout();
        assert_eq!(keys.contains(&format!("_ses.{id}")), own, "{keys}");
        t.delete(&id);
    }
    Ok(())
}

/// Keys, descriptors of init, processes, memory: nothing becomes more.
fn many_in_a_row(t: &Context) -> Outcome {
    let id = sleeper(t);
    let pid = t.pid(&id);
    let keys =
        || fs::read_to_string("/proc/keys").unwrap_or_default().lines().filter(|line| line.contains(&id)).count();
    let usage = ["memory.usage_in_bytes", "memory.current"].map(|name| t.cgroup_of(pid, "memory").join(name));
    // Its own, and what the kernel holds for it. An ordinary user's container is in the cgroup of the session, which is
    // charged for the files that these calls write.
    let usage = if t.host.uid == 0 { &usage[..] } else { &[] };
    let memory = || usage.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let counts = || (fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count(), keys());
    // What the kernel keeps for the next time is there by then.
    for _ in enough(100) {
        t.orlop(&exec(&[], &id, &["exit", "5"])).end().exits(5);
    }
    let (before, used) = (counts(), memory());
    for _ in enough(1000) {
        t.orlop(&exec(&[], &id, &["exit", "5"])).end().exits(5);
    }
    assert_eq!(counts(), before);
    if let Some(before) = used {
        // What has ended is freed when no CPU may be looking at it any more.
        until(&format!("{before} bytes and no MiB more are used after a thousand"), || {
            memory().is_some_and(|after| after < before + (1 << 20))
        });
    }
    let procs = fs::read_to_string(t.cgroup_of(pid, "pids").join("cgroup.procs")).expect("it is there");
    assert_eq!(procs.trim(), pid.to_string());
    t.delete(&id);
    Ok(())
}

/// As many rounds; on an emulated machine, which is a hundred times slower, those that half a minute has room for.
fn enough(rounds: usize) -> impl Iterator<Item = usize> {
    let end = Instant::now() + Duration::from_secs(30);
    (0..rounds).take_while(move |round| *round < 3 || Instant::now() < end)
}

fn many_at_once(t: &Context) -> Outcome {
    let id = t.id("c");
    let spy = t.detach(&t.bundle().args(&["spy"]), &id);
    t.wait_for_output(&spy, "spying");
    for _ in enough(20) {
        let calls: Vec<_> =
            (0..16).map(|_| t.orlop(&exec(&[], &id, &["print", "x", "--", "exit", "5"])).start()).collect();
        for call in calls {
            call.end().exits(5).prints(&["x"]);
        }
    }
    spy.prints(&["spying", "looked"]);
    t.delete(&id);
    Ok(())
}

/// CVE-2016-9962, CVE-2019-5736: no descriptor, no program and no memory of the runtime's.
fn hostile_container_sees_nothing(t: &Context) -> Outcome {
    assert_eq!(hostile(t, t.bundle(), 1000), "spying\nlooked\n");
    Ok(())
}

/// `run` has let go of the container before init has changed its root: who comes in then waits, rather than find the host.
fn the_hosts_root_is_never_entered(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["print", "up", "--", "sleep", "600"]);
    for round in 0..30 {
        let id = t.id(&format!("c{round}"));
        let mut run = t.orlop(&["run", "--bundle", bundle.path(), &id]).start();
        loop {
            let done = t.orlop(&exec(&[], &id, &["true"])).end();
            if done.code() == 0 {
                break;
            }
            let said = done.stderr();
            assert!(said.contains("does not exist") || said.contains("cannot exec in a "), "{said}");
        }
        // Killed before its program, it would end as an init that failed.
        t.wait_for_output_of(&mut run, "up\n");
        t.orlop(&["kill", &id, "KILL"]).end().ok();
        run.end().exits(137);
    }
    Ok(())
}

/// In a user namespace of its own it may look at all that is in there, which has no root of the host's.
fn hostile_tracer_sees_no_host(t: &Context) -> Outcome {
    let bundle = if t.host.uid == 0 { mapped(t.bundle()) } else { t.bundle() };
    let sets = ["bounding", "effective", "permitted"].map(|set| format!("/process/capabilities/{set}/-"));
    let bundle = sets.iter().fold(bundle, |bundle, set| bundle.with(set, json!("CAP_SYS_PTRACE")));
    let said = hostile(t, bundle, 100);
    assert!(said.contains("looked") && !said.contains("host"), "{said}");
    Ok(())
}

/// What it says while so many processes are executed beside it.
fn hostile(t: &Context, bundle: Bundle, times: usize) -> String {
    let id = t.id("c");
    let spy = t.detach(&bundle.args(&["spy"]), &id);
    t.wait_for_output(&spy, "spying");
    for round in enough(times) {
        let call = t.orlop(&exec(&[], &id, &["true"]));
        let call = if round % 8 == 0 { call.through_bash("exec 3</run 9</etc; exec \"$@\"") } else { call };
        call.end().ok();
    }
    t.orlop(&exec(&[], &id, &["sleep", "1"])).end().ok();
    let said = spy.stdout();
    t.delete(&id);
    said
}
