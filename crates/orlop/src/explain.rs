//! A plan for people: what `orlop explain` prints, and what a failed step was about.

use alloc::format;
use alloc::string::String;
use core::fmt::Write;

use orlop_cgroup::{DevicePlan, Dir, Missing, Verdict, Version};
use orlop_init::show::Show;
use orlop_init::step::{Call, Slot, Step};
use orlop_sys::Errno;
use orlop_sys::mount::Reach;

use crate::error::{Error, Kind};
use crate::plan::{Act, Entry, Ids, Plan, Task, slot};

/// The plan as lines of text: number, phase, who, what, with which arguments, and the field that asks for it.
pub fn text(plan: &Plan) -> String {
    let mut out = String::with_capacity(plan.entries.len() * 96);
    for (number, entry) in plan.entries.iter().enumerate() {
        let who = if matches!(entry.act, Act::Runtime(_)) { "runtime" } else { "init" };
        // Writing to a string does not fail.
        let _ = write!(out, "{number:3} {:10} {who:7} {}", entry.phase.name(), entry.name());
        for (name, value) in arguments(plan, entry) {
            let _ = write!(out, " {name}={value}");
        }
        if !entry.origin.is_none() {
            let _ = write!(out, "  [{}]", entry.origin);
        }
        out.push('\n');
        if matches!(entry.act, Act::Runtime(Task::CgroupAdopt)) {
            for property in plan.cgroup.scope.iter().flat_map(|scope| &scope.properties) {
                let _ = write!(out, "      {}={}", property.name, property.value);
                let _ = match property.origin.as_str() {
                    "" => writeln!(out),
                    origin => writeln!(out, "  [{origin}]"),
                };
            }
        }
        if matches!(entry.act, Act::Runtime(Task::CgroupLimits)) {
            for write in &plan.cgroup.writes {
                let _ = write!(out, "      {} = {}", plan.cgroup.file(write), write.value);
                if let Missing::Else(file, value) = &write.missing {
                    let _ = write!(out, ", without that file {file} = {value}");
                }
                let _ = writeln!(out, "  [{}]", write.origin);
            }
            devices(&mut out, &plan.cgroup);
        }
    }
    for ignored in &plan.cgroup.ignored {
        let _ = writeln!(out, "not set: {}: {}", ignored.origin, ignored.why);
    }
    for warning in &plan.warnings {
        let _ = writeln!(out, "warning: {}: {}", warning.origin, warning.text);
    }
    out
}

/// The lines of v1, which leave what is there already; the program of v2.
fn devices(out: &mut String, cgroup: &orlop_cgroup::Plan) {
    const ORIGIN: &str = "[/linux/resources/devices]";
    let Some((devices, dir)) = device_dir(cgroup) else { return };
    let rules = devices.set.rules();
    let _ = match dir.version {
        Version::V1 => rules
            .iter()
            .try_for_each(|rule| writeln!(out, "      {}/devices.{} = {rule}  {ORIGIN}", dir.path, word(rule.verdict))),
        Version::V2 => {
            let rules = rules.iter().map(|rule| format!("{} {rule}", word(rule.verdict)));
            let rules = rules.collect::<alloc::vec::Vec<_>>().join(", ");
            writeln!(out, "      {}: a program: {rules}  {ORIGIN}", dir.path)
        }
    };
}

fn device_dir(cgroup: &orlop_cgroup::Plan) -> Option<(&DevicePlan, &Dir)> {
    let devices = cgroup.devices.as_ref()?;
    Some((devices, cgroup.dirs.get(devices.dir)?))
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

/// The plan as one JSON document: `{"entries": […], "cgroup": […], "devices": […], "properties": […], "ignored": […],
/// "warnings": […]}`.
pub fn json(plan: &Plan) -> String {
    let mut out = String::with_capacity(plan.entries.len() * 160);
    out.push_str("{\"entries\":[");
    for (number, entry) in plan.entries.iter().enumerate() {
        let who = if matches!(entry.act, Act::Runtime(_)) { "runtime" } else { "init" };
        let comma = if number == 0 { "" } else { "," };
        let phase = entry.phase.name();
        let _ = write!(out, "{comma}\n{{\"phase\":{phase:?},\"owner\":{who:?},\"step\":{:?},\"origin\":", entry.name());
        string(&mut out, &format!("{}", entry.origin));
        out.push_str(",\"args\":{");
        for (i, (name, value)) in arguments(plan, entry).into_iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(out, "{comma}{name:?}:");
            string(&mut out, &value);
        }
        out.push_str("}}");
    }
    out.push_str("\n],\"cgroup\":[");
    for (i, write) in plan.cgroup.writes.iter().enumerate() {
        out.push_str(if i == 0 { "\n{\"file\":" } else { ",\n{\"file\":" });
        string(&mut out, &plan.cgroup.file(write));
        out.push_str(",\"value\":");
        string(&mut out, &write.value);
        if let Missing::Else(file, value) = &write.missing {
            out.push_str(",\"otherwise\":{\"file\":");
            string(&mut out, file);
            out.push_str(",\"value\":");
            string(&mut out, value);
            out.push('}');
        }
        out.push_str(",\"origin\":");
        string(&mut out, &format!("{}", write.origin));
        out.push('}');
    }
    out.push_str("\n],\"devices\":[");
    let rules = device_dir(&plan.cgroup).map(|(devices, _)| devices.set.rules()).unwrap_or_default();
    for (i, rule) in rules.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(out, "{comma}\n{{\"verdict\":{:?},\"rule\":\"{rule}\"}}", word(rule.verdict));
    }
    out.push_str("\n],\"properties\":[");
    for (i, property) in plan.cgroup.scope.iter().flat_map(|scope| &scope.properties).enumerate() {
        out.push_str(if i == 0 { "\n{\"name\":" } else { ",\n{\"name\":" });
        string(&mut out, &property.name);
        out.push_str(",\"value\":");
        string(&mut out, &format!("{}", property.value));
        out.push_str(",\"origin\":");
        string(&mut out, property.origin.as_str());
        out.push('}');
    }
    out.push_str("\n],\"ignored\":[");
    for (i, ignored) in plan.cgroup.ignored.iter().enumerate() {
        out.push_str(if i == 0 { "\n{\"origin\":" } else { ",\n{\"origin\":" });
        string(&mut out, ignored.origin.as_str());
        out.push_str(",\"why\":");
        string(&mut out, ignored.why);
        out.push('}');
    }
    out.push_str("\n],\"warnings\":[");
    for (i, warning) in plan.warnings.iter().enumerate() {
        out.push_str(if i == 0 { "\n{\"origin\":" } else { ",\n{\"origin\":" });
        string(&mut out, &warning.origin);
        out.push_str(",\"text\":");
        string(&mut out, &warning.text);
        out.push('}');
    }
    out.push_str("\n]}\n");
    out
}

fn string(out: &mut String, text: &str) {
    // A string always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn arguments(plan: &Plan, entry: &Entry) -> alloc::vec::Vec<(&'static str, String)> {
    let mut list = alloc::vec::Vec::new();
    match &entry.act {
        Act::Init(step) => step.fields(&mut |name, value| list.push((name, shown(plan, value)))),
        Act::Runtime(Task::Clone { namespaces, into_cgroup, .. }) => {
            list.push(("namespaces", format!("{namespaces}")));
            list.push(("into_cgroup", format!("{into_cgroup}")));
            for join in &plan.joined {
                list.push(("join", format!("{}={}", join.kind, plan.string(join.path))));
            }
        }
        Act::Runtime(Task::IdMaps { uids, gids, how }) => {
            list.push(("uids", one_line(&plan.string(*uids))));
            list.push(("gids", one_line(&plan.string(*gids))));
            list.push(("how", String::from(how.name())));
        }
        Act::Runtime(Task::CheckIdMaps { uids, gids }) => {
            list.push(("uids", one_line(&plan.string(*uids))));
            list.push(("gids", one_line(&plan.string(*gids))));
        }
        Act::Runtime(Task::SendMount { path, reach, follow, ids, ids_reach }) => {
            list.push(("path", plan.string(*path).into_owned()));
            list.push(("reach", shown(plan, reach)));
            list.push(("follow", shown(plan, follow)));
            match ids {
                Ids::Same => {}
                Ids::Container => list.push(("ids", String::from("container"))),
                Ids::Maps { uids, gids } => {
                    list.push(("uids", one_line(&plan.string(*uids))));
                    list.push(("gids", one_line(&plan.string(*gids))));
                }
            }
            if *ids != Ids::Same {
                list.push(("ids_reach", shown(plan, ids_reach)));
            }
        }
        Act::Runtime(Task::PidfdReceiver { path }) => list.push(("path", shown(plan, path))),
        Act::Runtime(Task::ClassOfService { class, schemata, monitor }) => {
            list.push(("class", shown(plan, class)));
            list.push(("schemata", one_line(&plan.string(*schemata))));
            list.push(("monitor", format!("{monitor}")));
        }
        Act::Runtime(Task::NetworkDevice { name, new_name }) => {
            list.push(("name", shown(plan, name)));
            list.push(("new_name", shown(plan, new_name)));
        }
        Act::Runtime(Task::CgroupDelegate { name, owner }) => {
            list.push(("below", shown(plan, name)));
            list.extend(owner.map(|uid| ("uid", format!("{uid}"))));
        }
        Act::Runtime(Task::CgroupOwner { uid }) => list.push(("uid", format!("{uid}"))),
        Act::Runtime(Task::SeccompListener { path, metadata }) => {
            list.push(("path", shown(plan, path)));
            list.push(("metadata", shown(plan, metadata)));
        }
        Act::Runtime(Task::Hook { event, index, path }) => {
            list.push(("event", event.name().into()));
            list.push(("index", format!("{index}")));
            list.push(("path", shown(plan, path)));
        }
        Act::Runtime(Task::OomScoreAdj(value)) => list.push(("value", format!("{value}"))),
        Act::Runtime(Task::CgroupAdopt) => {
            list.extend(plan.cgroup.scope.iter().map(|scope| ("scope", scope.unit.clone())));
        }
        Act::Runtime(Task::CgroupCreate) => {
            list.extend(plan.cgroup.dirs.iter().map(|dir| ("directory", dir.path.clone())));
        }
        Act::Runtime(_) => {}
    }
    list
}

fn one_line(map: &str) -> String {
    map.trim_end().replace('\n', ",")
}

fn shown(plan: &Plan, value: &dyn Show) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = value.show(&plan.strings.blob(), &mut text);
    text
}

/// The error of a step that failed, with what it was about: its strings, and the words that users search for.
pub(crate) fn step_error(
    plan: &Plan,
    step: &Step,
    (call, errno): (Option<Call>, Errno),
    detail: u32,
    heard: &[u8],
) -> Error {
    let blob = plan.strings.blob();
    let text = |text| blob.text(text).map(|text| String::from_utf8_lossy(text.to_bytes())).unwrap_or_default();
    let call_name = call.map_or("", Call::name);
    let system = |what: String| Error::system(call_name, what, errno);
    match *step {
        Step::Limit { resource, .. } => {
            let error = Error::new(Kind::System, format!("error setting rlimit type {resource}: {errno}"));
            match errno {
                Errno::PERM => error.hint("raising a hard limit needs CAP_SYS_RESOURCE"),
                _ => error,
            }
        }
        Step::Bounding { .. } | Step::Capabilities { .. } => {
            Error::new(Kind::System, format!("unable to apply caps: {call_name}: {errno}"))
                .hint("a capability that the caller does not have itself cannot be given")
        }
        Step::Ambient { .. } => Error::new(Kind::System, format!("unable to set ambient capability {detail}: {errno}"))
            .hint("an ambient capability must be permitted and inheritable"),
        Step::BindRoot { path, .. } => system(format!("rootfs {}", text(path))),
        Step::CloneTree { path, reach, .. } => {
            let error = system(format!("bind source {}", text(path)));
            let is_cut = plan.rootless && errno == Errno::INVAL && reach == Reach::One;
            if is_cut { error.hint(crate::idmap::LOCKED_BELOW) } else { error }
        }
        Step::MakeFs { fstype, params, .. } => {
            let mut what = format!("mounting {}", text(fstype));
            if let (Some(Call::Fsconfig), Some(param)) = (call, blob.params(params).get(detail as usize)) {
                let _ = write!(what, ": option {:?}", text(param.key));
            }
            let error = system(what);
            let label =
                blob.params(params).get(detail as usize).is_some_and(|param| text(param.key).ends_with("context"));
            if call == Some(Call::Fsconfig) && errno == Errno::INVAL && label {
                return error.hint("SELinux is not available on this host, or does not know the label");
            }
            match (call, errno) {
                // Its letter says how grave it is.
                _ if heard.len() > 2 => {
                    let heard = String::from_utf8_lossy(heard.get(2..).unwrap_or_default());
                    error.hint(format!("the kernel says: {}", heard.trim_end()))
                }
                (Some(Call::Fsopen), Errno::NODEV) => {
                    error.hint("/proc/filesystems has no such type: mistyped, or its module is not there")
                }
                (Some(Call::Fsopen | Call::FsconfigCreate | Call::Fsmount), Errno::PERM) => {
                    error.hint(refused(&text(fstype)))
                }
                _ => error,
            }
        }
        Step::AttachOrLink { path, .. } if call == Some(Call::LinkCheck) => {
            let what = format!("{:?} is there already, as something else than the link of the source", text(path));
            Error::new(Kind::InvalidConfig, what)
        }
        Step::Target { path, .. } | Step::AttachOrLink { path, .. } => match call {
            Some(Call::ProcCheck) => {
                let what = format!("{:?} cannot be mounted because it is inside /proc", text(path));
                Error::new(Kind::InvalidConfig, what)
            }
            Some(Call::DirectoryCheck) => {
                let what = format!("{:?} must be mounted on ordinary directory: not a directory", text(path));
                Error::new(Kind::InvalidConfig, what).hint("a link there would let the image choose what is covered")
            }
            _ => {
                let error = system(format!("mount point {}", text(path)));
                if errno == Errno::ROFS { error.hint("it has to be there where the root is read-only") } else { error }
            }
        },
        Step::Directory { path, .. } => system(format!("making {}", text(path))),
        Step::Device { path, .. } => match call {
            Some(Call::DeviceCheck) => {
                Error::new(Kind::InvalidConfig, format!("{} is there already, as something else", text(path)))
            }
            _ => system(format!("device {}", text(path))),
        },
        Step::File { path, .. } => match errno {
            Errno::LOOP => Error::new(Kind::InvalidConfig, format!("{} is a symbolic link", text(path))),
            _ => system(format!("making {}", text(path))),
        },
        Step::Console { .. } => match (call, errno) {
            (Some(Call::SendConsole), _) => system(String::from("sending the terminal to the console socket")),
            (Some(Call::OpenDevpts | Call::OpenPtmx | Call::DevptsCheck), _) => {
                system(String::from("a terminal")).hint("it needs a devpts at /dev/pts in the container")
            }
            _ => system(String::from("a terminal")),
        },
        Step::Symlink { path, .. } => system(format!("link {}", text(path))),
        Step::Mask { root, path, .. } => system(format!("masking {}{}", mount_point(root), text(path))),
        Step::ReadOnlyPath { root, path } => system(format!("making {}{} read-only", mount_point(root), text(path))),
        Step::OpenNamespace { path, namespace, .. } => match call {
            Some(Call::NamespaceType) => {
                Error::new(Kind::InvalidConfig, format!("{} is no namespace of type {namespace}", text(path)))
            }
            _ => system(format!("namespace {}", text(path))),
        },
        Step::Chdir { path, .. } => match call {
            Some(Call::CwdCheck) => Error::new(
                Kind::InvalidConfig,
                format!("current working directory {} is outside of container mount namespace root", text(path)),
            ),
            _ => {
                Error::new(Kind::System, format!("chdir to cwd ({:?}) set in config.json failed: {errno}", text(path)))
            }
        },
        Step::Unmount { path, .. } => match (call, errno) {
            (Some(Call::ProcCheck), _) => {
                let what = format!("{:?} leads to a part of procfs or sysfs, which stays covered", text(path));
                Error::new(Kind::InvalidConfig, what)
            }
            (Some(Call::Umount2), Errno::INVAL) => {
                Error::new(Kind::InvalidConfig, format!("nothing is mounted at {:?}", text(path)))
            }
            _ => system(format!("unmounting {}", text(path))),
        },
        Step::Pivot { .. } if errno == Errno::INVAL => {
            system(String::from("entering the root")).hint("on an initial ramfs use --no-pivot")
        }
        // Of a container that is entered nobody has looked at the maps before.
        Step::Stdio { uid } if errno == Errno::INVAL => {
            Error::new(Kind::InvalidConfig, format!("user {uid} is not mapped in the container's user namespace"))
        }
        Step::User { .. } if errno == Errno::INVAL => {
            system(String::from(step.name())).hint("the container's user namespace has no such id")
        }
        Step::DetachAllBut { .. } => system(String::from("detaching the host's mounts")),
        Step::WriteProc { path, value, .. } => proc_error(&text(path), &text(value), call_name, errno),
        Step::Scheduler { .. } => {
            let limits_processors = |write| plan.cgroup.file(write).ends_with("cpuset.cpus");
            if errno == Errno::PERM && plan.cgroup.writes.iter().any(limits_processors) {
                let what = "process scheduler can't be used together with AllowedCPUs";
                return Error::new(Kind::InvalidConfig, what);
            }
            system(String::from("error setting scheduler"))
        }
        Step::IoPriority { .. } => system(String::from("failed to set io priority")),
        Step::MemoryPolicy { .. } => system(String::from("setting the memory policy")),
        Step::Seccomp { .. } => system(String::from("loading the filter")),
        _ => system(String::from(step.name())),
    }
}

/// What a user namespace has to own to make such a file system; see user_namespaces(7).
fn refused(fstype: &str) -> &'static str {
    match fstype {
        "proc" => "in a user namespace it needs a pid namespace of its own, and another procfs that nothing covers",
        "sysfs" => "in a user namespace it needs a network namespace of its own, and another sysfs: bind the host's",
        "mqueue" => "in a user namespace it needs an ipc namespace of its own",
        _ => "in a user namespace only few can be made, such as tmpfs and overlay",
    }
}

/// What stands before a path that is looked up in a mount.
fn mount_point(root: Slot) -> &'static str {
    match root {
        slot::PROC_TREE => "/proc",
        slot::SYS_TREE => "/sys",
        _ => "",
    }
}

/// What writing to procfs was for is in the path.
fn proc_error(path: &str, value: &str, call: &'static str, errno: Errno) -> Error {
    let missing = matches!(errno, Errno::NOENT | Errno::INVAL | Errno::OPNOTSUPP);
    if let Some(name) = path.strip_prefix("sys/") {
        let error = Error::system(call, format!("sysctl {} = {value:?}", name.replace('/', ".")), errno);
        return if errno == Errno::NOENT { error.hint("this kernel has no such parameter") } else { error };
    }
    if path.contains("apparmor") {
        let profile = value.strip_prefix("exec ").unwrap_or(value);
        if call == "write" && errno == Errno::NOENT {
            return Error::system(call, format!("AppArmor profile {profile:?} is not loaded"), errno);
        }
        let what = format!("unable to apply apparmor profile {profile:?}");
        let error = Error::system(call, what, errno);
        return if missing { error.hint("AppArmor is not available on this host") } else { error };
    }
    let error = Error::system(call, format!("unable to set SELinux label {value:?}"), errno);
    if missing { error.hint("SELinux is not available on this host, or does not know the label") } else { error }
}
