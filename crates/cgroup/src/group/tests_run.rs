//! Containers that run: updated, frozen, killed, watched, measured.

use std::process::{Command, Stdio};
use std::string::{String, ToString};
use std::time::{Duration, Instant};
use std::vec::Vec;
use std::{format, fs, vec};

use orlop_sys::process::Pid;
use orlop_sys::time::Timespec;

use super::tests::{Bed, On};
use super::{Group, Joined, Oom, PATIENCE};
use crate::error::Error;
use crate::io::count;
use crate::layout::{Layout, Version};
use crate::path::CgroupPath;
use crate::plan::{Controller, Options, plan};
use crate::resources::*;
use crate::stats::Which;

fn memory(limit: u64, swap: u64) -> Resources {
    Resources {
        memory: Memory { limit: Some(Limit::At(limit)), swap: Some(Limit::At(swap)), ..Memory::default() },
        ..Resources::default()
    }
}

fn cpu(quota: u64, period: u64) -> Resources {
    Resources {
        cpu: Cpu { quota: Some(Limit::At(quota)), period: Some(period), ..Cpu::default() },
        ..Resources::default()
    }
}

/// A bed with a running group that has one child in it; and whether the host has v1 `controller`.
fn running(on: On, resources: &Resources) -> Option<(Bed, Group, Pid)> {
    let mut bed = Bed::new(on)?;
    let plan = bed.plan(resources);
    let mut group = Group::create(&plan).unwrap();
    group.apply(&plan).unwrap();
    let pid = bed.child();
    group.adopt(pid, Joined::Nothing).unwrap();
    Some((bed, group, pid))
}

/// Up and down, in steps that a fixed order of limit and swap, or of period and quota, would trip over.
#[test]
fn updates() {
    let Some((bed, mut group, _)) = running(On::Host, &Resources::default()) else {
        return;
    };
    if !bed.v1() || !bed.has("memory") || !bed.has("cpu") {
        std::eprintln!("skipped: no memory and cpu on v1");
        return;
    }
    const MB: u64 = 1 << 20;
    for (limit, swap) in [(64, 64), (128, 256), (300, 300), (32, 40), (64, 64), (16, 16)] {
        group.update(&bed.plan(&memory(limit * MB, swap * MB))).unwrap();
        let read = |file| bed.read(&group, "memory", file).parse::<u64>().unwrap() / MB;
        assert_eq!((read("memory.limit_in_bytes"), read("memory.memsw.limit_in_bytes")), (limit, swap));
    }
    for (quota, period) in [(5_000, 10_000), (900_000, 1_000_000), (1_000, 1_000), (1_000_000, 500_000)] {
        group.update(&bed.plan(&cpu(quota, period))).unwrap();
        let read = |file| bed.read(&group, "cpu", file).parse::<u64>().unwrap();
        assert_eq!((read("cpu.cfs_quota_us"), read("cpu.cfs_period_us")), (quota, period));
    }
}

/// One limit that is refused takes the others back.
#[test]
fn a_refused_update_changes_nothing() {
    let first = Resources { pids: Some(Limit::At(50)), ..cpu(5_000, 10_000) };
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    if !bed.v1() || !bed.has("pids") || !bed.has("cpu") {
        std::eprintln!("skipped: no pids and cpu on v1");
        return;
    }
    drop(bed);
    let Some((bed, mut group, _)) = running(On::Host, &first) else {
        return;
    };
    // The kernel knows no period of more than a second.
    let second = Resources { pids: Some(Limit::At(60)), ..cpu(7_000, 2_000_000) };
    let error = group.update(&bed.plan(&second)).unwrap_err();
    assert_eq!(error.origin().unwrap().as_str(), "/linux/resources/cpu/period");
    for (controller, file, want) in
        [("pids", "pids.max", "50"), ("cpu", "cpu.cfs_quota_us", "5000"), ("cpu", "cpu.cfs_period_us", "10000")]
    {
        assert_eq!(bed.read(&group, controller, file), want, "{file}");
    }
}

/// Whether a process that is always busy is given time: fields 14 and 15 of proc_pid_stat(5), in hundredths.
fn moves(pid: Pid) -> bool {
    let time = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2).collect();
        fields.join(" ")
    };
    let before = time();
    std::thread::sleep(Duration::from_millis(60));
    before != time()
}

#[test]
fn freezing() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        let plan = bed.plan(&Resources::default());
        let group = Group::create(&plan).unwrap();
        // No children: the end of one, which no freezer holds up, wakes who waits for it for a moment.
        let busy = Command::new("yes").stdout(Stdio::null()).spawn().unwrap();
        let pid = busy.id() as Pid;
        bed.children.push(busy);
        group.adopt(pid, Joined::Nothing).unwrap();
        assert!(!group.is_frozen().unwrap());
        for _ in 0..2 {
            // Again is no error.
            group.freeze(PATIENCE).unwrap();
            group.freeze(PATIENCE).unwrap();
            assert!(group.is_frozen().unwrap());
            // A task counts as frozen a moment before it gives up its cpu for it.
            assert!((0..50).any(|_| !moves(pid)), "{on:?}");
            assert!(!moves(pid), "{on:?}");
            let again = Group::open(&bed.layout, &bed.path).unwrap();
            assert!(again.is_frozen().unwrap());
            again.thaw().unwrap();
            assert!(!group.is_frozen().unwrap());
            // An emulated machine takes its time.
            assert!((0..50).any(|_| moves(pid)), "{on:?}");
        }
        // A frozen cgroup is not for a new container, and a killed one goes for good.
        group.freeze(PATIENCE).unwrap();
        group.signal_all(9).unwrap();
        let mut group = group;
        bed.children.drain(..).for_each(|mut child| assert!(!child.wait().unwrap().success()));
        group.remove(PATIENCE).unwrap();
    }
}

#[test]
fn a_frozen_cgroup_is_not_taken() {
    for on in [On::Host, On::V2] {
        let Some(bed) = Bed::new(on) else { return };
        let plan = bed.plan(&Resources::default());
        let group = Group::create(&plan).unwrap();
        group.freeze(PATIENCE).unwrap();
        match Group::create(&plan) {
            Err(Error::Frozen { .. }) => {}
            other => panic!("{other:?}"),
        }
        group.thaw().unwrap();
    }
}

/// Processes that fork all the time, in sub-cgroups too, are all killed, and removal waits for no longer than
/// they take.
#[test]
fn killing() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        let plan = bed.plan(&Resources::default());
        let mut group = Group::create(&plan).unwrap();
        for sub in ["", "sub/deep"] {
            for dir in group.dirs() {
                let path = format!("{}/{sub}", dir.path);
                fs::create_dir_all(&path).unwrap();
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let up = |n: usize| path.trim_end_matches('/').split('/').count() - n;
                    if !dir.controllers.iter().any(|c| c.as_str() == "cpuset") || sub.is_empty() {
                        continue;
                    }
                    for depth in [up(1), up(0)] {
                        let at: Vec<_> = path.split('/').take(depth).collect();
                        let list = fs::read_to_string(format!("{}/{file}", dir.path)).unwrap();
                        fs::write(format!("{}/{file}", at.join("/")), list).unwrap();
                    }
                }
            }
            let script = "while :; do sleep 0.001 & done";
            let storm = Command::new("sh")
                .arg("-c")
                .arg(format!("sleep 0.05; ulimit -u 4000; {script}"))
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let pid = storm.id() as Pid;
            bed.children.push(storm);
            group.adopt_below(pid, |_| sub).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(group.pids().unwrap().len() >= 2);
        group.signal_all(9).unwrap();
        bed.children.drain(..).for_each(|mut child| assert!(!child.wait().unwrap().success()));
        let begin = Instant::now();
        group.remove(PATIENCE).unwrap();
        std::eprintln!("{on:?}: removed after {:?}", begin.elapsed());
        assert_eq!(group.pids().unwrap(), Vec::<Pid>::new());
        assert!(!group.exists());
    }
}

/// Removal waits for the last process, by the kernel's event where there is v2; and gives up in time.
#[test]
fn removing_waits() {
    for on in [On::Host, On::V2] {
        let Some((mut bed, mut group, _)) = running(on, &Resources::default()) else {
            return;
        };
        let error = group.remove(Timespec::from_millis(30)).unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. } | Error::Call { .. }), "{error}");
        let mut child = bed.children.pop().unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        let begin = Instant::now();
        group.remove(PATIENCE).unwrap();
        killer.join().unwrap();
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn sub_cgroup_paths() {
    let Some((_bed, group, pid)) = running(On::V2, &Resources::default()) else {
        return;
    };
    for bad in ["../x", "a/../../b", ".."] {
        assert!(matches!(group.adopt_below(pid, |_| bad), Err(Error::Path { .. })), "{bad}");
    }
    let dir = group.dirs().next().unwrap().path.clone();
    fs::create_dir(format!("{dir}/leaf")).unwrap();
    group.adopt_below(pid, |_| "/leaf").unwrap();
    assert_eq!(group.pids().unwrap(), [pid]);
    drop(group.open_of(pid).unwrap());
    assert!(matches!(group.open_of(1), Err(Error::Path { .. })));
    group.delegate(4711).unwrap();
    use std::os::unix::fs::MetadataExt;
    for (file, uid) in [("", 4711), ("cgroup.procs", 4711), ("cgroup.freeze", 0)] {
        assert_eq!(fs::metadata(format!("{dir}/{file}")).unwrap().uid(), uid, "{file}");
    }
}

#[test]
fn statistics() {
    let Some((bed, group, _)) = running(On::Host, &memory(64 << 20, 64 << 20)) else {
        return;
    };
    if !bed.v1() || !bed.has("memory") || !bed.has("pids") || !bed.has("cpuset") {
        std::eprintln!("skipped: not all of memory, pids and cpuset on v1");
        return;
    }
    // Give the child something to have used.
    let burn = Command::new("sh")
        .arg("-c")
        .arg("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; sleep 100")
        .spawn()
        .unwrap();
    let pid = burn.id() as Pid;
    let mut bed = bed;
    bed.children.push(burn);
    group.adopt(pid, Joined::Nothing).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    count::take();
    let all = group.stats(Which::ALL).unwrap();
    let calls = count::take();
    group.stats(Which::USAGE).unwrap();
    std::eprintln!("stats: all {calls}, usage {}", count::take());
    assert_eq!(all.memory.usage.limit, 64 << 20);
    assert_eq!(all.memory.swap.limit, 64 << 20);
    assert!(all.memory.usage.usage > 0 && all.memory.usage.max >= all.memory.usage.usage);
    assert!(all.memory.raw.contains_key("rss"));
    assert!(all.pids.current >= 2 && all.pids.limit == 0, "{:?}", all.pids);
    assert!(all.cpu.total > 0 && all.cpu.percpu.iter().sum::<u64>() > 0, "{:?}", all.cpu);
    assert_eq!(all.cpu.percpu.len(), all.cpu.percpu_user.len());
    assert!(!all.cpuset.cpus.is_empty() && all.cpuset.mems == [0], "{:?}", all.cpuset);
}

#[test]
fn statistics_of_v2() {
    let Some((_bed, group, _)) = running(On::V2, &Resources::default()) else {
        return;
    };
    let stats = group.stats(Which::ALL).unwrap();
    assert_eq!(stats.pids.current, 1);
    assert!(stats.cpu.pressure.is_some() || !fs::exists("/proc/pressure").unwrap());
}

#[test]
fn out_of_memory() {
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    if !bed.has("memory") || Command::new("python3").arg("-c").arg("").status().is_err() {
        std::eprintln!("skipped: no memory controller or no python3");
        return;
    }
    drop(bed);
    let Some((mut bed, mut group, _)) = running(On::Host, &memory(16 << 20, 16 << 20)) else {
        return;
    };
    let mut watch = group.watch_oom().unwrap();
    assert_eq!(watch.check().unwrap(), Oom::Nothing);
    assert_eq!(watch.wait(Some(Timespec::from_millis(5))).unwrap(), Oom::Nothing);
    let script = "read go; exec python3 -c \"x='x'*(200<<20)\"";
    let mut hog = Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    group.adopt(hog.id() as Pid, Joined::Nothing).unwrap();
    drop(hog.stdin.take());
    assert_eq!(watch.wait(Some(PATIENCE)).unwrap(), Oom::OutOfMemory);
    assert!(!hog.wait().unwrap().success());
    bed.children.drain(..).for_each(|mut child| {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let kills = group.stats(Which::ALL).unwrap().memory.events;
    assert!(kills.get("oom_kill").is_some_and(|n| *n >= 1), "{kills:?}");
    group.remove(PATIENCE).unwrap();
    // The end of the cgroup may come after one more notice of what happened before.
    let end = (0..3).map(|_| watch.wait(Some(PATIENCE)).unwrap()).find(|seen| *seen == Oom::Gone);
    assert_eq!(end, Some(Oom::Gone));
}

/// A folder of ordinary files in the place of a v2 cgroup, for controllers that this host has on v1.
struct Fake(String);

impl Fake {
    fn new(name: &str, files: &[(&str, &str)]) -> Fake {
        let root = std::env::temp_dir().join(format!("orlop-fake-{}-{name}", std::process::id()));
        let root = root.to_str().unwrap().to_string();
        fs::create_dir_all(format!("{root}/x")).unwrap();
        for (file, text) in files {
            fs::write(format!("{root}/x/{file}"), text).unwrap();
        }
        Fake(root)
    }

    fn update(&self, resources: &Resources) -> Result<(), Error> {
        let layout = Layout::unified(&self.0, "0::/\n");
        let path = CgroupPath::from_config(Some("/x"), "").unwrap();
        let plan = plan(&layout, &path, resources, Options::default())?;
        Group::open(&layout, &path)?.update(&plan)
    }

    /// A write does not shorten an ordinary file: what counts is how it begins.
    fn begins(&self, file: &str, want: &str) {
        let text = fs::read_to_string(format!("{}/x/{file}", self.0)).unwrap();
        assert!(text.starts_with(want), "{file}: {text:?}");
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn check_before_update() {
    let fake = Fake::new(
        "check",
        &[
            ("memory.current", "5000\n"),
            ("memory.max", "max\n"),
            ("memory.high", "max\n"),
            ("memory.swap.max", "max\n"),
        ],
    );
    let checked = |limit, swap| {
        let mut resources = memory(limit, swap);
        resources.memory.check_before_update = true;
        fake.update(&resources).unwrap_err().to_string()
    };
    assert_eq!(checked(4000, 9000), "rejecting memory limit 4000 <= usage 5000");
    assert_eq!(checked(4000, 4500), "rejecting memory+swap limit 4500 <= usage 5000");
    fake.begins("memory.max", "max");
    // Unchecked: squeezed first, and what squeezed is taken back.
    fake.update(&memory(4000, 4500)).unwrap();
    fake.begins("memory.max", "4000");
    fake.begins("memory.swap.max", "500");
    fake.begins("memory.high", "max");
}

#[test]
fn files_that_may_lack() {
    let weight = Resources { block_io: BlockIo { weight: Some(500), ..BlockIo::default() }, ..Resources::default() };
    let plain = Fake::new("plain", &[("io.weight", "default 100\n")]);
    plain.update(&weight).unwrap();
    plain.begins("io.weight", "4950");
    let bfq = Fake::new("bfq", &[("io.weight", "default 100\n"), ("io.bfq.weight", "default 100\n")]);
    bfq.update(&weight).unwrap();
    bfq.begins("io.bfq.weight", "500");
    bfq.begins("io.weight", "default 100");
    // Neither, and no controller to switch on either.
    let error = Fake::new("none", &[]).update(&weight).unwrap_err();
    assert_eq!(error.to_string(), "cannot set io limit: container could not join or create cgroup");
    let unified = Resources { unified: vec![("io.max".into(), "8:0 rbps=1".into())], ..Resources::default() };
    let error = Fake::new("key", &[]).update(&unified).unwrap_err();
    assert_eq!(error.to_string(), "unified resource \"io.max\" can't be set: controller \"io\" not available");
    // The controller is there, the file is not: an older kernel.
    let error = Fake::new("old", &[("cgroup.controllers", "cpu io\n")]).update(&unified).unwrap_err();
    assert_eq!(error.errno(), Some(orlop_sys::Errno::NOENT));
    // No swap accounting: unlimited and none are what happens anyway, a number is not.
    let no_swap = Fake::new("swap", &[("memory.max", "")]);
    no_swap.update(&memory(100, 100)).unwrap();
    assert!(no_swap.update(&memory(100, 200)).is_err());
    let unlimited =
        Resources { memory: Memory { limit: Some(Limit::Max), ..Memory::default() }, ..Resources::default() };
    no_swap.update(&unlimited).unwrap();
    no_swap.begins("memory.max", "max");
}

#[test]
fn versions_are_told_apart() {
    let Some(bed) = Bed::new(On::V2) else { return };
    let group = Group::create(&bed.plan(&Resources::default())).unwrap();
    let versions: Vec<_> = group.dirs().map(|dir| dir.version).collect();
    assert_eq!(versions, vec![Version::V2]);
    assert!(group.fd().is_some());
}

/// Only what a limit needs is switched on above the cgroup, unless all is asked for.
#[test]
fn controllers_on_v2() {
    let Some(bed) = Bed::new(On::V2) else { return };
    let there = |group: &Group| {
        fs::read_to_string(format!("{}/cgroup.controllers", group.dirs().next().unwrap().path)).unwrap()
    };
    // Below a parent of our own, which nobody else has switched anything on in.
    let deep = CgroupPath::from_config(Some(&format!("/{}/a/b", bed.path.as_str())), "").unwrap();
    let none = plan(&bed.layout, &deep, &Resources::default(), Options::default()).unwrap();
    let mut group = Group::create(&none).unwrap();
    group.apply(&none).unwrap();
    assert_eq!(there(&group), "");
    group.remove(PATIENCE).unwrap();
    let group = Group::create(&none.with_all_controllers()).unwrap();
    let offered = fs::read_to_string(format!("{}/cgroup.controllers", bed.layout.hierarchies[0].mount)).unwrap();
    assert_eq!(there(&group), offered);
}

/// Signals reach all processes, and a paused container stays paused.
#[test]
fn signals() {
    for on in [On::Host, On::V2] {
        let Some((mut bed, group, _)) = running(on, &Resources::default()) else { return };
        group.freeze(PATIENCE).unwrap();
        group.signal_all(15).unwrap();
        assert!(group.is_frozen().unwrap());
        let mut child = bed.children.pop().unwrap();
        // What a signal ends at once, it ends in the freezer of v2 too; that of v1 holds even what is killed.
        if group.dirs().any(|dir| dir.controllers.contains(&Controller::FREEZER)) {
            assert!(child.try_wait().unwrap().is_none());
        }
        group.thaw().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(15));
    }
}

/// A caller without any right: nothing asked for goes on without a cgroup; a limit or a path is an error that says so.
#[test]
fn rootless() {
    if orlop_sys::credentials::euid() == 0 {
        // Itself again, as nobody.
        use std::os::unix::process::CommandExt;
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "group::tests_run::rootless", "--nocapture"]).uid(65534).gid(65534);
        match again.stdin(Stdio::null()).output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => std::eprintln!("skipped: nobody cannot run this program: {error}"),
        }
        return;
    }
    let layout = match Layout::probe() {
        Ok(layout) => layout,
        Err(error) => return std::eprintln!("skipped: {error}"),
    };
    let rootless = Options { rootless: true, ..Options::default() };
    let default = CgroupPath::from_config(None, "orlop-test-rootless").unwrap();
    let given = CgroupPath::from_config(Some("/orlop-test-rootless"), "x").unwrap();
    let nothing = Resources { devices: Some(crate::device::DEFAULT_DEVICES.to_vec()), ..Resources::default() };
    let limited = Resources { pids: Some(Limit::At(5)), ..nothing.clone() };
    let v2_only = Layout {
        mode: crate::layout::Mode::Unified,
        hierarchies: layout.hierarchies.iter().filter(|h| h.version == Version::V2).cloned().collect(),
    };
    for (layout, words) in [
        (&layout, "cannot set pids limit: container could not join or create cgroup"),
        (&v2_only, "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: mkdir "),
    ] {
        if layout.hierarchies.is_empty() {
            continue;
        }
        let without = plan(layout, &default, &nothing, rootless).unwrap();
        let mut group = match Group::create(&without) {
            Ok(group) => group,
            Err(error) => panic!("{error}"),
        };
        if group.dirs().next().is_some() {
            group.remove(PATIENCE).unwrap();
            return std::eprintln!("skipped: nobody may make cgroups here");
        }
        group.apply(&without).unwrap();
        group.adopt(std::process::id() as Pid, Joined::Nothing).unwrap();
        assert!(!group.is_frozen().unwrap());
        assert!(matches!(group.freeze(PATIENCE), Err(Error::NoFreezer)));
        group.remove(PATIENCE).unwrap();

        let error = Group::create(&plan(layout, &default, &limited, rootless).unwrap()).unwrap_err();
        // On a host with v2 alone both are.
        let v2 = layout.mode == crate::layout::Mode::Unified;
        assert!(error.to_string().starts_with(words) || v2, "{error}");
        let error = Group::create(&plan(layout, &given, &nothing, rootless).unwrap()).unwrap_err();
        assert!(error.is_permission(), "{error}");
        // Root that lacks a permission is told of it.
        let error = Group::create(&plan(layout, &default, &nothing, Options::default()).unwrap()).unwrap_err();
        assert!(error.is_permission(), "{error}");
    }
}
