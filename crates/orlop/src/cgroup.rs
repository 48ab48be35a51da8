//! From the configuration to `orlop-cgroup`'s plan.

use alloc::string::String;
use alloc::vec::Vec;

use orlop_cgroup::systemd::{self, Place};
use orlop_cgroup::{
    self as cgroup, Access, BlockDevice, CgroupPath, DEFAULT_DEVICES, DeviceKind, DeviceRule, Limit, Tell, Verdict,
    Version,
};

use crate::config::{self, Config, DeviceRuleKind};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::plan::{Options, Origin, SUBGROUP, Warning, Weight, invalid};

/// Whether `orlop-cgroup` has a driver for systemd.
pub(crate) const HAS_SYSTEMD: bool = true;

/// How init comes into its cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Placement {
    /// There is none to come into.
    Nowhere,
    /// It is born there.
    AtBirth,
    /// It is put there, at least in part.
    Adopted,
}

pub(crate) fn placement(plan: &cgroup::Plan) -> Placement {
    if plan.dirs.is_empty() {
        Placement::Nowhere
    } else if plan.scope.is_some() {
        // A scope is made around a process that lives.
        Placement::Adopted
    } else if plan.dirs.iter().all(|dir| dir.version == Version::V2) {
        Placement::AtBirth
    } else {
        Placement::Adopted
    }
}

pub(crate) fn plan(config: &Config<'_>, host: &Host, options: &Options<'_>) -> Result<cgroup::Plan> {
    plan_limits(config, &config.linux.resources, host, options)
}

/// The plan without the limits that have a fault, and these faults.
pub(crate) fn review(config: &Config<'_>, host: &Host, options: &Options<'_>) -> (cgroup::Plan, Vec<Error>) {
    let mut limits = config.linux.resources.clone();
    let mut faults = Vec::new();
    loop {
        let error = match plan_limits(config, &limits, host, options) {
            Ok(plan) => return (plan, faults),
            Err(error) => error,
        };
        let pointer = error.origin().unwrap_or_default();
        let gone = match pointer.strip_prefix("/linux/resources/") {
            Some(limit) => limits.forget(limit),
            None => false,
        };
        faults.push(error);
        if !gone {
            return (cgroup::Plan::default(), faults);
        }
    }
}

fn plan_limits(
    config: &Config<'_>,
    limits: &config::Resources<'_>,
    host: &Host,
    options: &Options<'_>,
) -> Result<cgroup::Plan> {
    let resources = resources(limits, Devices::OfContainer)?;
    let how =
        cgroup::Options { rootless: host.rootless, user_namespace: host.rootless, manager: options.cgroup_manager };
    if options.cgroup_manager == cgroup::Manager::Systemd {
        return scope(config, host, options, &resources, how);
    }
    let path = path(config, options.id)?;
    let plan = cgroup::plan(&host.cgroups, &path, &resources, how).map_err(from_cgroup)?;
    // Engines, which all name the cgroup, read the statistics of what is not limited too.
    let by_engine = !config.linux.cgroups_path.is_empty();
    Ok(if by_engine && host.is_unified() && !host.rootless { plan.with_all_controllers() } else { plan })
}

fn scope(
    config: &Config<'_>,
    host: &Host,
    options: &Options<'_>,
    resources: &cgroup::Resources,
    how: cgroup::Options,
) -> Result<cgroup::Plan> {
    let given = Some(config.linux.cgroups_path.as_str());
    let place = Place::from_config(given, options.id, &options.systemd, options.systemd_cgroup);
    let place = place.map_err(|error| from_cgroup(error).field("/linux/cgroupsPath"))?;
    let place = match config.annotations.get(SUBGROUP).filter(|name| !name.is_empty()) {
        Some(name) => place.with_below(name).map_err(|error| from_cgroup(error).field("/annotations"))?,
        None => place,
    };
    let annotations = config.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    systemd::plan(&host.cgroups, &place, resources, how, annotations).map_err(from_cgroup)
}

pub(crate) fn path(config: &Config<'_>, id: &str) -> Result<CgroupPath> {
    let given = Some(config.linux.cgroups_path.as_str());
    CgroupPath::from_config(given, id).map_err(|error| from_cgroup(error).field("/linux/cgroupsPath"))
}

/// An error of the cgroup crate, as ours.
pub(crate) fn from_cgroup(error: cgroup::Error) -> Error {
    worded("", &error)
}

/// The same of a cgroup that is being made, in runc's words.
pub(crate) fn applying(error: cgroup::Error) -> Error {
    worded("unable to apply cgroup configuration: ", &error)
}

fn worded(doing: &str, error: &cgroup::Error) -> Error {
    let kind = match error {
        cgroup::Error::NotSupported(_) => Kind::NotSupported,
        cgroup::Error::Invalid { .. } | cgroup::Error::Path { .. } => Kind::InvalidConfig,
        _ => Kind::System,
    };
    let ours = match error {
        cgroup::Error::Call { call, errno, .. } => Error::told(alloc::format!("{doing}{error}"), call, *errno),
        _ => Error::new(kind, alloc::format!("{error}")),
    };
    match error.origin() {
        Some(origin) => ours.field(origin.as_str()),
        None => ours,
    }
}

/// What the user should know of a plan that leaves something out.
pub(crate) fn warnings(plan: &cgroup::Plan) -> impl Iterator<Item = Warning> {
    let told = plan.ignored.iter().filter(|ignored| ignored.tell == Tell::Warn);
    told.map(|ignored| Warning {
        origin: ignored.origin.as_str().into(),
        text: ignored.why.into(),
        weight: Weight::Warning,
    })
}

/// Whether device rules are those of a new container, or an update's, which leaves them alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Devices {
    /// The configuration's, then the ones that every container needs.
    OfContainer,
    /// None.
    Unchanged,
}

/// The same limits, as the cgroup crate has them.
pub(crate) fn resources(from: &config::Resources<'_>, devices: Devices) -> Result<cgroup::Resources> {
    let signed = |value: Option<i64>| value.map(Limit::from_signed);
    let memory = cgroup::Memory {
        limit: signed(from.memory.limit),
        swap: signed(from.memory.swap),
        reservation: signed(from.memory.reservation),
        kernel: signed(from.memory.kernel),
        kernel_tcp: signed(from.memory.kernel_tcp),
        swappiness: from.memory.swappiness,
        disable_oom_killer: from.memory.disable_oom_killer,
        check_before_update: from.memory.check_before_update,
    };
    let cpu = cgroup::Cpu {
        shares: from.cpu.shares,
        quota: signed(from.cpu.quota),
        burst: from.cpu.burst,
        period: from.cpu.period,
        realtime_runtime: signed(from.cpu.realtime_runtime),
        realtime_period: from.cpu.realtime_period,
        idle: from.cpu.idle,
        cpus: from.cpu.cpus.as_str().into(),
        mems: from.cpu.mems.as_str().into(),
    };
    let huge_pages = from.hugepage_limits.iter();
    let rdma = from.rdma.iter();
    Ok(cgroup::Resources {
        memory,
        cpu,
        pids: signed(from.pids.limit),
        block_io: block_io(&from.block_io)?,
        huge_pages: huge_pages
            .map(|huge| cgroup::HugePages { page_size: huge.page_size.as_str().into(), limit: huge.limit })
            .collect(),
        rdma: rdma
            .map(|(device, limit)| cgroup::Rdma {
                device: String::from(device.as_str()),
                handles: limit.hca_handles,
                objects: limit.hca_objects,
            })
            .collect(),
        network: cgroup::Network {
            class_id: from.network.class_id,
            priorities: from
                .network
                .priorities
                .iter()
                .map(|p| cgroup::Priority { name: p.name.as_str().into(), priority: p.priority })
                .collect(),
        },
        devices: match devices {
            Devices::OfContainer => Some(device_rules(&from.devices)?),
            Devices::Unchanged => None,
        },
        unified: from.unified.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
    })
}

fn number(n: i64, origin: Origin) -> Result<u32> {
    u32::try_from(n).map_err(|_| invalid(alloc::format!("{n} is no device number"), origin))
}

fn block_io(from: &config::BlockIo) -> Result<cgroup::BlockIo> {
    let device = |major: i64, minor: i64, origin: Origin| -> Result<BlockDevice> {
        Ok(BlockDevice { major: number(major, origin)?, minor: number(minor, origin)? })
    };
    let throttles = |list: &[config::ThrottleDevice], pointer: &'static str| {
        let each = list.iter().enumerate().map(|(index, throttle)| {
            let device = device(throttle.major, throttle.minor, Origin::member(pointer, index))?;
            Ok(cgroup::Throttle { device, rate: throttle.rate })
        });
        each.collect::<Result<Vec<_>>>()
    };
    let weights = from.weight_device.iter().enumerate().map(|(index, weight)| {
        let origin = Origin::member("/linux/resources/blockIO/weightDevice", index);
        Ok(cgroup::WeightDevice {
            device: device(weight.major, weight.minor, origin)?,
            weight: weight.weight,
            leaf_weight: weight.leaf_weight,
        })
    });
    Ok(cgroup::BlockIo {
        weight: from.weight,
        leaf_weight: from.leaf_weight,
        weight_device: weights.collect::<Result<Vec<_>>>()?,
        read_bps: throttles(&from.throttle_read_bps_device, "/linux/resources/blockIO/throttleReadBpsDevice")?,
        write_bps: throttles(&from.throttle_write_bps_device, "/linux/resources/blockIO/throttleWriteBpsDevice")?,
        read_iops: throttles(&from.throttle_read_iops_device, "/linux/resources/blockIO/throttleReadIOPSDevice")?,
        write_iops: throttles(&from.throttle_write_iops_device, "/linux/resources/blockIO/throttleWriteIOPSDevice")?,
    })
}

/// The configuration's rules in order, then what a container cannot do without, as runc appends it.
fn device_rules(from: &[config::DeviceRule]) -> Result<Vec<DeviceRule>> {
    let mut rules = Vec::with_capacity(from.len() + DEFAULT_DEVICES.len());
    for (index, rule) in from.iter().enumerate() {
        let origin = Origin::member("/linux/resources/devices", index);
        let number = |n: Option<i64>| n.filter(|n| *n != -1).map(|n| number(n, origin)).transpose();
        let mut access = Access::NONE;
        for (asked, bit) in
            [(rule.access.read, Access::READ), (rule.access.write, Access::WRITE), (rule.access.mknod, Access::MKNOD)]
        {
            if asked {
                access = access.with(bit);
            }
        }
        rules.push(DeviceRule {
            verdict: if rule.allow { Verdict::Allow } else { Verdict::Deny },
            kind: match rule.kind {
                DeviceRuleKind::All => DeviceKind::All,
                DeviceRuleKind::Char => DeviceKind::Character,
                DeviceRuleKind::Block => DeviceKind::Block,
            },
            major: number(rule.major)?,
            minor: number(rule.minor)?,
            access: if access.is_empty() { Access::ALL } else { access },
        });
    }
    rules.extend_from_slice(&DEFAULT_DEVICES);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Document, Hierarchy};
    use crate::plan::{Act, Task};
    use orlop_cgroup::Layout;

    /// The scope needs a process that lives, and its cgroup namespace the cgroup.
    #[test]
    fn a_scope_is_started_around_init() {
        let text = Config::example(Hierarchy::Unified).to_json(crate::config::Layout::Compact);
        let text = text.replace("\"terminal\":true", "\"terminal\":false");
        let config = Config::parse(text.as_bytes()).unwrap();
        let host = Host { euid: 0, egid: 0, rootless: false, cgroups: Layout::unified("/cg", "0::/\n") };
        let options = Options { id: "c", bundle: "/b", cgroup_manager: cgroup::Manager::Systemd, ..Options::default() };
        let plan = crate::plan::plan(&config, &host, &options).unwrap();
        let tasks: Vec<&str> = plan
            .entries
            .iter()
            .filter_map(|entry| match entry.act {
                Act::Runtime(Task::Clone { into_cgroup: true, .. }) => Some("clone into the cgroup"),
                Act::Runtime(task) if task.name().starts_with("cgroup") || task.name() == "clone" => Some(task.name()),
                Act::Init(step) if step.name() == "unshare" => Some("unshare"),
                _ => None,
            })
            .collect();
        assert_eq!(tasks, ["cgroup-create", "clone", "cgroup-adopt", "unshare", "cgroup-limits"]);
        assert_eq!(plan.cgroup.dirs.first().map(|dir| dir.path.as_str()), Some("/cg/system.slice/orlop-c.scope"));
    }
}
