//! On this machine's own hierarchies, as root; elsewhere each test says that it is skipped.

use std::process::{Child, Command};
use std::string::String;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{format, fs, vec};

use super::*;
use crate::io::count;
use crate::layout::Mode;
use crate::plan::Manager;
use crate::resources::*;

/// Which hierarchies a test is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum On {
    /// All that the host has.
    Host,
    /// The cgroup2 mount alone, as if v1 were not there.
    V2,
}

/// A container's cgroup for one test; removed at the end of it.
pub(super) struct Bed {
    pub(super) layout: Layout,
    pub(super) path: CgroupPath,
    pub(super) children: Vec<Child>,
}

impl Bed {
    pub(super) fn new(on: On) -> Option<Bed> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let skipped = |why: &str| {
            std::eprintln!("skipped: {why}");
            None
        };
        if orlop_sys::credentials::euid() != 0 {
            return skipped("not root");
        }
        let mut layout = match Layout::probe() {
            Ok(layout) => layout,
            Err(error) => return skipped(&error.to_string()),
        };
        if on == On::V2 {
            layout.hierarchies.retain(|h| h.version == Version::V2);
            layout.mode = Mode::Unified;
        }
        let Some(first) = layout.hierarchies.first() else {
            return skipped("no cgroup2 mount");
        };
        let probe = format!("{}/orlop-test-probe-{}", first.mount, std::process::id());
        if let Err(error) = fs::create_dir(&probe).and_then(|()| fs::remove_dir(&probe)) {
            return skipped(&format!("cannot make a cgroup: {error}"));
        }
        let name = format!("/orlop-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = CgroupPath::from_config(Some(&name), "").unwrap();
        Some(Bed { layout, path, children: vec![] })
    }

    pub(super) fn plan(&self, resources: &Resources) -> Plan {
        plan(&self.layout, &self.path, resources, Options::default()).unwrap()
    }

    pub(super) fn child(&mut self) -> Pid {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as Pid;
        self.children.push(child);
        pid
    }

    /// The text of a file in the directory of `controller`, or of v2.
    pub(super) fn read(&self, group: &Group, controller: &str, file: &str) -> String {
        let dir = group.dirs().find(|dir| match dir.version {
            Version::V1 => dir.controllers.iter().any(|c| c.as_str() == controller),
            Version::V2 => true,
        });
        let path = format!("{}/{file}", dir.unwrap().path);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim_end().into()
    }

    pub(super) fn v1(&self) -> bool {
        self.layout.mode != Mode::Unified
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        let v2 = self.layout.hierarchies.iter().find(|h| h.version == Version::V2);
        let on_v2 = v2.is_some_and(|h| {
            let list = fs::read_to_string(format!("{}/cgroup.controllers", h.mount)).unwrap();
            list.split_whitespace().any(|c| c == controller)
        });
        let on_v1 = |h: &Hierarchy| h.controllers.iter().any(|c| c.as_str() == controller);
        on_v2 || self.layout.hierarchies.iter().any(on_v1)
    }

    fn left(&self) -> Vec<String> {
        let place = |h: &Hierarchy| h.locate(self.layout.mode, &self.path).unwrap();
        let there = |path: &String| fs::exists(path).unwrap();
        self.layout.hierarchies.iter().map(place).filter(there).collect()
    }
}

use crate::layout::Hierarchy;

impl Drop for Bed {
    fn drop(&mut self) {
        let group = Group::open(&self.layout, &self.path);
        // What is frozen would never end.
        if let Ok(group) = &group {
            let _ = group.signal_all(9);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Ok(mut group) = group {
            let _ = group.remove(PATIENCE);
        }
    }
}

fn ten_limits(bed: &Bed) -> Resources {
    let mut resources = Resources::default();
    if bed.has("memory") {
        resources.memory = Memory {
            limit: Some(Limit::At(64 << 20)),
            swap: Some(Limit::At(128 << 20)),
            reservation: Some(Limit::At(32 << 20)),
            ..Memory::default()
        };
    }
    if bed.has("cpu") {
        resources.cpu.shares = Some(512);
        resources.cpu.quota = Some(Limit::At(20_000));
        resources.cpu.period = Some(50_000);
    }
    if bed.has("cpuset") {
        resources.cpu.cpus = "0".into();
        resources.cpu.mems = "0".into();
    }
    if bed.has("pids") {
        resources.pids = Some(Limit::At(33));
    }
    if bed.has("hugetlb") {
        resources.huge_pages = vec![HugePages { page_size: "2MB".into(), limit: 4 << 20 }];
    }
    resources
}

#[test]
fn create_apply_adopt_remove() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        let resources = ten_limits(&bed);
        let plan = bed.plan(&resources);
        let mut group = Group::create(&plan).unwrap();
        group.apply(&plan).unwrap();
        let pid = bed.child();
        group.adopt(pid, Joined::Nothing).unwrap();
        assert_eq!(group.pids().unwrap(), [pid]);
        let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        for dir in group.dirs() {
            let suffix = format!(":/{}", bed.path.as_str());
            let name = dir.controllers.first().filter(|_| dir.version == Version::V1).map_or("", |c| c.as_str());
            // Several controllers may be mounted together.
            let is_its = |line: &&str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|n| n == name));
            let line = own.lines().find(is_its).unwrap();
            assert!(line.ends_with(&suffix), "{name}: {line}");
        }
        if bed.v1() && bed.has("memory") {
            for (controller, file, want) in [
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("memory", "memory.memsw.limit_in_bytes", "134217728"),
                ("memory", "memory.soft_limit_in_bytes", "33554432"),
                ("cpu", "cpu.shares", "512"),
                ("cpu", "cpu.cfs_quota_us", "20000"),
                ("cpu", "cpu.cfs_period_us", "50000"),
                ("cpuset", "cpuset.cpus", "0"),
                ("cpuset", "cpuset.mems", "0"),
                ("pids", "pids.max", "33"),
            ] {
                assert_eq!(bed.read(&group, controller, file), want, "{file}");
            }
        }
        if bed.has("hugetlb") && on == On::V2 {
            assert_eq!(bed.read(&group, "hugetlb", "hugetlb.2MB.max"), "4194304");
        }
        bed.children.drain(..).for_each(|mut child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        group.remove(PATIENCE).unwrap();
        assert_eq!(bed.left(), Vec::<String>::new());
        // Again is no error, nor is opening what is gone.
        group.remove(PATIENCE).unwrap();
        Group::open(&bed.layout, &bed.path).unwrap().remove(PATIENCE).unwrap();
    }
}

/// What the whole life of a cgroup costs.
#[test]
fn calls() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        let pid = bed.child();
        let plan = bed.plan(&ten_limits(&bed));
        // The first container of a parent on v2 has the controllers switched on, for all after it.
        let mut first = Group::create(&plan).unwrap();
        count::take();
        first.apply(&plan).unwrap();
        let first_apply = count::take();
        first.remove(PATIENCE).unwrap();
        let all = plan.clone().with_all_controllers();
        let mut first = Group::create(&all).unwrap();
        first.remove(PATIENCE).unwrap();
        count::take();
        let mut second = Group::create(&all).unwrap();
        let create_all = count::take();
        second.remove(PATIENCE).unwrap();
        count::take();
        let mut group = Group::create(&plan).unwrap();
        let create = count::take();
        group.apply(&plan).unwrap();
        let apply = count::take();
        group.adopt(pid, Joined::Nothing).unwrap();
        let adopt = count::take();
        group.stats(crate::stats::Which::USAGE).unwrap();
        let stats = count::take();
        bed.children.drain(..).for_each(|mut child| {
            child.kill().unwrap();
            child.wait().unwrap();
        });
        group.remove(PATIENCE).unwrap();
        let remove = count::take();
        drop(group);
        let hierarchies = bed.layout.hierarchies.len();
        std::eprintln!(
            "{on:?}: {hierarchies} hierarchies, create {create}, apply {apply}, adopt {adopt}, stats {stats}, \
             remove {remove}; the first apply {first_apply}, create with all controllers {create_all}"
        );
        let sum = create + apply + adopt + stats + remove;
        let most = if bed.v1() { 12 * hierarchies } else { 40 };
        assert!(sum <= most, "{sum} calls");
        // As a runtime does it: with every controller, and the process cloned into the cgroup.
        if !bed.v1() {
            assert!(create_all + sum - create - adopt <= most, "{} calls", create_all + sum - create - adopt);
        }
        if ["memory", "cpu", "cpuset", "pids", "hugetlb"].iter().all(|controller| bed.has(controller)) {
            assert!(plan.writes.len() >= 10, "{} limits", plan.writes.len());
        }
    }
}

#[test]
fn a_found_cgroup_must_be_empty() {
    let Some(mut bed) = Bed::new(On::Host) else {
        return;
    };
    let plan = bed.plan(&Resources::default());
    let mut first = Group::create(&plan).unwrap();
    let second = Group::create(&plan).unwrap();
    drop(second);
    let pid = bed.child();
    first.adopt(pid, Joined::Nothing).unwrap();
    match Group::create(&plan) {
        Err(Error::NotEmpty { processes: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    // The failed create took nothing away.
    assert_eq!(first.pids().unwrap(), [pid]);
    bed.children.drain(..).for_each(|mut child| {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    first.remove(PATIENCE).unwrap();
}

#[test]
fn a_failing_create_leaves_nothing() {
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    if !bed.v1() || !bed.has("cpuset") {
        std::eprintln!("skipped: no cpuset on v1");
        return;
    }
    let mut resources = Resources::default();
    resources.cpu.cpus = "9999".into();
    let deep = CgroupPath::from_config(Some(&format!("/{}/a/b", bed.path.as_str())), "").unwrap();
    let plan = plan(&bed.layout, &deep, &resources, Options::default()).unwrap();
    let error = Group::create(&plan).unwrap_err();
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    assert_eq!(error.origin().unwrap().as_str(), "/linux/resources/cpu/cpus");
    assert_eq!(bed.left(), Vec::<String>::new());
}

/// Parents that are missing are made, and sub-cgroups of the container are removed with it.
#[test]
fn parents_and_children() {
    for on in [On::Host, On::V2] {
        let Some(mut bed) = Bed::new(on) else { return };
        let top = bed.path.clone();
        bed.path = CgroupPath::from_config(Some(&format!("/{}/a/b", top.as_str())), "").unwrap();
        let mut resources = ten_limits(&bed);
        resources.cpu.cpus.clear();
        let plan = bed.plan(&resources);
        let mut group = Group::create(&plan).unwrap();
        group.apply(&plan).unwrap();
        for dir in group.dirs() {
            fs::create_dir_all(format!("{}/in/side", dir.path)).unwrap();
        }
        group.remove(PATIENCE).unwrap();
        assert_eq!(bed.left(), Vec::<String>::new());
        bed.path = top;
        assert_eq!(bed.left().len(), bed.layout.hierarchies.len());
    }
}

/// Undo takes the parents back too.
#[test]
fn undo() {
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    let deep = CgroupPath::from_config(Some(&format!("/{}/a/b", bed.path.as_str())), "").unwrap();
    let plan = plan(&bed.layout, &deep, &Resources::default(), Options::default()).unwrap();
    Group::create(&plan).unwrap().undo().unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
}

#[test]
fn memory_in_use() {
    let Some(mut bed) = Bed::new(On::Host) else {
        return;
    };
    if !bed.v1() || !bed.has("memory") {
        std::eprintln!("skipped: no memory on v1");
        return;
    }
    let limit =
        |n| Resources { memory: Memory { limit: Some(Limit::At(n)), ..Memory::default() }, ..Resources::default() };
    let plan = bed.plan(&limit(512 << 20));
    let mut group = Group::create(&plan).unwrap();
    group.apply(&plan).unwrap();
    // Memory that is not to be reclaimed: anonymous, and locked by being in use without swap.
    let code =
        "import mmap,time; m=mmap.mmap(-1,64<<20); m.write(b'x'*(64<<20)); print('ready',flush=True); time.sleep(1000)";
    let shell = format!("echo $$; read go; exec python3 -c \"{code}\"");
    let child = Command::new("sh")
        .arg("-c")
        .arg(shell)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let pid = child.id() as Pid;
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    bed.children.push(child);
    group.adopt(pid, Joined::Nothing).unwrap();
    use std::io::{BufRead, Write as _};
    stdin.write_all(b"go\n").unwrap();
    let lines: Vec<_> = std::io::BufReader::new(stdout).lines().take(2).map(Result::unwrap).collect();
    if lines.get(1).map(String::as_str) != Some("ready") {
        std::eprintln!("skipped: no python3");
        return;
    }
    let error = group.apply(&bed.plan(&limit(1 << 20))).unwrap_err().to_string();
    assert!(error.starts_with("unable to set memory limit to 1048576 (current usage: "), "{error}");
    assert!(error.contains(", peak usage: "), "{error}");
}

/// A device list as v1 shows it afterwards.
#[test]
fn device_lists() {
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    if !bed.v1() || !bed.has("devices") {
        std::eprintln!("skipped: no devices on v1");
        return;
    }
    let rule = |verdict, kind, major, minor, access| DeviceRule {
        verdict,
        kind,
        major,
        minor,
        access: Access::parse(access).unwrap(),
    };
    use DeviceKind::{All, Character};
    use Verdict::{Allow, Deny};
    let mut group = None;
    for (rules, want) in [
        (vec![], ""),
        (
            vec![
                rule(Deny, All, None, None, "rwm"),
                rule(Allow, Character, None, None, "m"),
                rule(Allow, Character, Some(1), Some(3), "rw"),
                rule(Allow, Character, Some(1), Some(3), "m"),
            ],
            "c *:* m\nc 1:3 rwm",
        ),
        (vec![rule(Allow, Character, Some(1), Some(3), "r")], "c 1:3 r"),
        (vec![rule(Allow, All, None, None, "rwm")], "a *:* rwm"),
        (vec![rule(Allow, Character, Some(1), Some(5), "w")], "c 1:5 w"),
    ] {
        let plan = bed.plan(&Resources { devices: Some(rules), ..Resources::default() });
        let group = group.get_or_insert_with(|| Group::create(&plan).unwrap());
        group.update(&plan).unwrap();
        assert_eq!(bed.read(group, "devices", "devices.list"), want);
    }
}

/// Without a manager there is nothing to make, and every act on the nothing succeeds.
#[test]
fn disabled() {
    let Some(bed) = Bed::new(On::Host) else {
        return;
    };
    let options = Options { manager: Manager::Disabled, ..Options::default() };
    let plan = plan(&bed.layout, &bed.path, &ten_limits(&bed), options).unwrap();
    let mut group = Group::create(&plan).unwrap();
    group.apply(&plan).unwrap();
    group.adopt(1, Joined::Nothing).unwrap();
    assert_eq!(group.pids().unwrap(), Vec::<Pid>::new());
    group.remove(PATIENCE).unwrap();
    assert_eq!(bed.left(), Vec::<String>::new());
}
