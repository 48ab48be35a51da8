//! The writes for each part of the resources, in the order of runc's managers, which is one that the kernel
//! takes for a new cgroup; [`Retry`] covers the others.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use super::{Controller, Home, Missing, Origin, Planner, Retry, When, Write};
use crate::convert;
use crate::error::Error;
use crate::layout::{Mode, Version};
use crate::resources::{BlockIo, Cpu, HugePages, Limit, Memory, Network, Rdma, Resources, Throttle};

const NOT_ON_V2: &str = "cgroup v2 has no such setting";
const NO_KERNEL_LIMIT: &str = "Linux has no separate limit of kernel memory any more";

impl Write {
    fn or_skip(mut self) -> Write {
        self.missing = Missing::Skip;
        self
    }

    fn or_else(mut self, file: &'static str, value: String) -> Write {
        self.missing = Missing::Else(file, value);
        self
    }

    fn retried(mut self) -> Write {
        self.retry = Retry::AfterNext;
        self
    }

    fn early(mut self) -> Write {
        self.when = When::Create;
        self
    }
}

impl Planner<'_> {
    pub(super) fn limits(&mut self, r: &Resources) -> Result<(), Error> {
        self.pids(r.pids)?;
        self.memory(&r.memory)?;
        self.cpuset(&r.cpu)?;
        self.block_io(&r.block_io)?;
        self.cpu(&r.cpu)?;
        self.huge_pages(&r.huge_pages)?;
        self.rdma(&r.rdma)?;
        self.network(&r.network)?;
        self.unified(&r.unified)
    }

    /// Plans the write of `value` to the file that `controller` has for it in its version.
    fn write(
        &mut self,
        home: Home,
        controller: &Controller,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        origin: Origin,
    ) -> Write {
        let on_v2 = home.version == Version::V2 && *controller == Controller::BLKIO;
        Write {
            dir: home.dir,
            file: file.into(),
            value: value.to_string(),
            controller: if on_v2 { Controller::IO } else { controller.clone() },
            origin,
            missing: Missing::Fail,
            retry: Retry::No,
            when: When::Apply,
        }
    }

    fn push(&mut self, write: Write) {
        self.plan.writes.push(write);
    }

    fn pids(&mut self, limit: Option<Limit>) -> Result<(), Error> {
        let Some(limit) = limit else {
            return Ok(());
        };
        let origin = Origin::new("/linux/resources/pids/limit");
        let home = self.home(&Controller::PIDS, &origin)?;
        // systemd knows no limit of 0; the kernel lets the one process that is cloned into the cgroup live.
        let limit = if limit == Limit::At(0) { Limit::At(1) } else { limit };
        let write = self.write(home, &Controller::PIDS, "pids.max", limit, origin);
        self.push(write);
        Ok(())
    }

    fn memory(&mut self, m: &Memory) -> Result<(), Error> {
        const LIMIT: Origin = Origin::new("/linux/resources/memory/limit");
        const SWAP: Origin = Origin::new("/linux/resources/memory/swap");
        const RESERVATION: Origin = Origin::new("/linux/resources/memory/reservation");
        const SWAPPINESS: Origin = Origin::new("/linux/resources/memory/swappiness");
        const C: Controller = Controller::MEMORY;
        for (limit, pointer) in
            [(m.kernel, "/linux/resources/memory/kernel"), (m.kernel_tcp, "/linux/resources/memory/kernelTCP")]
        {
            if Limit::unless_zero(limit).is_some() {
                self.ignore(pointer, NO_KERNEL_LIMIT);
            }
        }
        let limit = Limit::unless_zero(m.limit);
        let swap = Limit::unless_zero(m.swap);
        let reservation = Limit::unless_zero(m.reservation);
        let swappiness = m.swappiness.filter(|n| *n != u64::MAX);
        if let Some(n @ 101..) = swappiness {
            return Err(Error::Invalid {
                origin: SWAPPINESS,
                why: format!("invalid memory swappiness value: {n} (valid range is 0-100)"),
            });
        }
        let first = [
            (limit.is_some(), LIMIT),
            (swap.is_some(), SWAP),
            (reservation.is_some(), RESERVATION),
            (swappiness.is_some(), SWAPPINESS),
            (m.disable_oom_killer, Origin::new("/linux/resources/memory/disableOOMKiller")),
        ];
        let Some((_, first)) = first.into_iter().find(|(set, _)| *set) else {
            return Ok(());
        };
        let home = self.home(&C, &first)?;
        if home.version == Version::V1 {
            if let Some(limit) = limit {
                let write = self.write(home, &C, "memory.limit_in_bytes", limit.v1(), LIMIT);
                self.push(write.retried());
            }
            let file = "memory.memsw.limit_in_bytes";
            match (swap, limit) {
                (Some(swap), _) => {
                    let write = self.write(home, &C, file, swap.v1(), SWAP);
                    self.push(write);
                }
                // Unlimited memory with nothing said of swap means both.
                (None, Some(Limit::Max)) => {
                    let write = self.write(home, &C, file, "-1", LIMIT);
                    self.push(write.or_skip());
                }
                (None, _) => {}
            }
            if let Some(n) = reservation {
                let write = self.write(home, &C, "memory.soft_limit_in_bytes", n.v1(), RESERVATION);
                self.push(write);
            }
            if m.disable_oom_killer {
                let origin = Origin::new("/linux/resources/memory/disableOOMKiller");
                let write = self.write(home, &C, "memory.oom_control", "1", origin);
                self.push(write);
            }
            if let Some(n) = swappiness {
                let write = self.write(home, &C, "memory.swappiness", n, SWAPPINESS);
                self.push(write);
            }
            return Ok(());
        }
        if m.check_before_update {
            let bytes = |limit| match limit {
                Some(Limit::At(n)) => Some(n),
                _ => None,
            };
            self.plan.check = Some((bytes(limit), bytes(swap)));
        }
        let swap = convert::swap(swap, limit).map_err(|why| Error::Invalid { origin: SWAP, why: why.into() })?;
        if let Some(limit) = limit {
            let write = self.write(home, &C, "memory.max", limit, LIMIT);
            self.push(write);
        }
        if let Some(swap) = swap {
            let origin = if m.swap.is_some() { SWAP } else { LIMIT };
            let write = self.write(home, &C, "memory.swap.max", swap, origin);
            // A kernel without swap accounting has no file: none and unlimited come to what it does anyway.
            let write = match swap {
                Limit::Max | Limit::At(0) => write.or_skip(),
                Limit::At(_) => write,
            };
            self.push(write);
        }
        if let Some(n) = reservation {
            let write = self.write(home, &C, "memory.low", n, RESERVATION);
            self.push(write);
        }
        if m.disable_oom_killer {
            self.ignore("/linux/resources/memory/disableOOMKiller", NOT_ON_V2);
        }
        if swappiness.is_some() {
            self.ignore("/linux/resources/memory/swappiness", NOT_ON_V2);
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu) -> Result<(), Error> {
        const SHARES: Origin = Origin::new("/linux/resources/cpu/shares");
        const QUOTA: Origin = Origin::new("/linux/resources/cpu/quota");
        const PERIOD: Origin = Origin::new("/linux/resources/cpu/period");
        const BURST: Origin = Origin::new("/linux/resources/cpu/burst");
        const IDLE: Origin = Origin::new("/linux/resources/cpu/idle");
        const RT_RUNTIME: Origin = Origin::new("/linux/resources/cpu/realtimeRuntime");
        const RT_PERIOD: Origin = Origin::new("/linux/resources/cpu/realtimePeriod");
        const C: Controller = Controller::CPU;
        let shares = cpu.shares.filter(|n| *n != 0);
        let quota = Limit::unless_zero(cpu.quota);
        let period = cpu.period.filter(|n| *n != 0);
        let rt_runtime = Limit::unless_zero(cpu.realtime_runtime);
        let rt_period = cpu.realtime_period.filter(|n| *n != 0);
        let first = [
            (shares.is_some(), SHARES),
            (quota.is_some(), QUOTA),
            (period.is_some(), PERIOD),
            (cpu.burst.is_some(), BURST),
            (cpu.idle.is_some(), IDLE),
            (rt_runtime.is_some(), RT_RUNTIME),
            (rt_period.is_some(), RT_PERIOD),
        ];
        let Some((_, first)) = first.into_iter().find(|(set, _)| *set) else {
            return Ok(());
        };
        if !self.on_v1(&C) {
            for (set, pointer) in [
                (rt_runtime.is_some(), "/linux/resources/cpu/realtimeRuntime"),
                (rt_period.is_some(), "/linux/resources/cpu/realtimePeriod"),
            ] {
                if set {
                    self.ignore(pointer, NOT_ON_V2);
                }
            }
            if first == RT_RUNTIME || first == RT_PERIOD {
                return Ok(());
            }
        }
        if let (Some(burst), Some(Limit::At(quota))) = (cpu.burst, quota)
            && burst > quota
        {
            return Err(invalid(BURST, "the burst is larger than the quota"));
        }
        let home = self.home(&C, &first)?;
        let v1 = home.version == Version::V1;
        let share = match (v1, shares) {
            (_, None) => None,
            (false, Some(n)) => Some(self.write(home, &C, "cpu.weight", convert::shares_to_weight(n), SHARES)),
            // The kernel cuts what is out of range without a word.
            (true, Some(0..2)) => {
                return Err(invalid(SHARES, "the minimum allowed cpu-shares is 2"));
            }
            (true, Some(262_145..)) => {
                return Err(invalid(SHARES, "the maximum allowed cpu-shares is 262144"));
            }
            (true, Some(n)) => Some(self.write(home, &C, "cpu.shares", n, SHARES)),
        };
        let idle = cpu.idle.map(|n| self.write(home, &C, "cpu.idle", n, IDLE));
        // An idle group refuses a weight: become idle last, stop being idle first.
        let (before, after) = if cpu.idle == Some(0) { (idle, share) } else { (share, idle) };
        self.plan.writes.extend(before.into_iter().chain(after));
        if v1 {
            self.cpu_v1(home, cpu.burst, quota, period);
            for (value, file, origin, write) in [
                (rt_period.map(|n| n.to_string()), "cpu.rt_period_us", RT_PERIOD, Write::retried as fn(_) -> _),
                (rt_runtime.map(Limit::v1), "cpu.rt_runtime_us", RT_RUNTIME, |write| write),
            ] {
                if let Some(value) = value {
                    let planned = self.write(home, &C, file, value, origin);
                    // A realtime process cannot enter a group without realtime bandwidth.
                    self.push(write(planned).early());
                }
            }
            return Ok(());
        }
        if let Some(burst) = cpu.burst {
            let write = self.write(home, &C, "cpu.max.burst", burst, BURST);
            self.push(write.retried());
        }
        if quota.is_some() || period.is_some() {
            let value = format!("{} {}", quota.unwrap_or(Limit::Max), period.unwrap_or(100_000));
            let origin = if quota.is_some() { QUOTA } else { PERIOD };
            let write = self.write(home, &C, "cpu.max", value, origin);
            self.push(write);
        }
        Ok(())
    }

    fn cpu_v1(&mut self, home: Home, burst: Option<u64>, quota: Option<Limit>, period: Option<u64>) {
        const C: Controller = Controller::CPU;
        if let Some(period) = period {
            let origin = Origin::new("/linux/resources/cpu/period");
            let write = self.write(home, &C, "cpu.cfs_period_us", period, origin);
            self.push(write.retried());
        }
        if let Some(burst) = burst {
            let origin = Origin::new("/linux/resources/cpu/burst");
            let write = self.write(home, &C, "cpu.cfs_burst_us", burst, origin);
            // Older than Linux 5.14: no burst, as runc passes over it.
            self.push(write.retried().or_skip());
        }
        if let Some(quota) = quota {
            let origin = Origin::new("/linux/resources/cpu/quota");
            let write = self.write(home, &C, "cpu.cfs_quota_us", quota.v1(), origin);
            self.push(write);
        }
    }

    fn cpuset(&mut self, cpu: &Cpu) -> Result<(), Error> {
        const C: Controller = Controller::CPUSET;
        for (list, file, pointer) in [
            (&cpu.cpus, "cpuset.cpus", "/linux/resources/cpu/cpus"),
            (&cpu.mems, "cpuset.mems", "/linux/resources/cpu/mems"),
        ] {
            if list.is_empty() {
                continue;
            }
            let origin = Origin::new(pointer);
            one_line(list, &origin)?;
            let home = self.home(&C, &origin)?;
            let write = self.write(home, &C, file, list, origin);
            // v1 takes no process before both lists are filled.
            let early = home.version == Version::V1;
            self.push(if early { write.early() } else { write });
        }
        Ok(())
    }

    fn block_io(&mut self, io: &BlockIo) -> Result<(), Error> {
        const C: Controller = Controller::BLKIO;
        const BASE: &str = "/linux/resources/blockIO";
        if let Some(weight) = io.weight.filter(|n| *n != 0) {
            let origin = Origin::new("/linux/resources/blockIO/weight");
            let home = self.home(&C, &origin)?;
            // Which file there is depends on the scheduler, and is known once the cgroup exists.
            let write = match home.version {
                Version::V1 => {
                    self.write(home, &C, "blkio.weight", weight, origin).or_else("blkio.bfq.weight", weight.to_string())
                }
                Version::V2 => self
                    .write(home, &C, "io.bfq.weight", weight, origin)
                    .or_else("io.weight", convert::blkio_to_io_weight(weight).to_string()),
            };
            self.push(write);
        }
        if let Some(weight) = io.leaf_weight.filter(|n| *n != 0) {
            let pointer = "/linux/resources/blockIO/leafWeight";
            let home = self.home(&C, &Origin::new(pointer))?;
            match home.version {
                Version::V1 => {
                    let write = self.write(home, &C, "blkio.leaf_weight", weight, Origin::new(pointer));
                    self.push(write);
                }
                Version::V2 => self.ignore(pointer, NOT_ON_V2),
            }
        }
        for (index, device) in io.weight_device.iter().enumerate() {
            let base = format!("{BASE}/weightDevice");
            let number = device.device;
            if let Some(weight) = device.weight.filter(|n| *n != 0) {
                let origin = Origin::within(&base, index, "/weight");
                let home = self.home(&C, &origin)?;
                let value = format!("{number} {weight}");
                let write = match home.version {
                    Version::V1 => self
                        .write(home, &C, "blkio.weight_device", &value, origin)
                        .or_else("blkio.bfq.weight_device", value),
                    Version::V2 => self
                        .write(home, &C, "io.bfq.weight", value, origin)
                        .or_else("io.weight", format!("{number} {}", convert::blkio_to_io_weight(weight))),
                };
                self.push(write);
            }
            if let Some(weight) = device.leaf_weight.filter(|n| *n != 0) {
                let origin = Origin::within(&base, index, "/leafWeight");
                let home = self.home(&C, &origin)?;
                match home.version {
                    Version::V1 => {
                        let value = format!("{number} {weight}");
                        let write = self.write(home, &C, "blkio.leaf_weight_device", value, origin);
                        self.push(write);
                    }
                    Version::V2 => {
                        self.plan.ignored.push(super::Ignored { origin, why: NOT_ON_V2, tell: super::Tell::Nobody })
                    }
                }
            }
        }
        for (list, field, v1, v2) in [
            (&io.read_bps, "throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
            (&io.write_bps, "throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
            (&io.read_iops, "throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
            (&io.write_iops, "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
        ] {
            for (index, Throttle { device, rate }) in list.iter().enumerate() {
                let origin = Origin::within(&format!("{BASE}/{field}"), index, "/rate");
                let home = self.home(&C, &origin)?;
                let write = match (home.version, rate) {
                    (Version::V1, rate) => self.write(home, &C, v1, format!("{device} {rate}"), origin),
                    // 0 lifts the limit on v1, and is out of range on v2.
                    (Version::V2, 0) => self.write(home, &C, "io.max", format!("{device} {v2}=max"), origin),
                    (Version::V2, rate) => self.write(home, &C, "io.max", format!("{device} {v2}={rate}"), origin),
                };
                self.push(write);
            }
        }
        Ok(())
    }

    fn huge_pages(&mut self, limits: &[HugePages]) -> Result<(), Error> {
        const C: Controller = Controller::HUGETLB;
        for (index, HugePages { page_size, limit }) in limits.iter().enumerate() {
            let origin = Origin::within("/linux/resources/hugepageLimits", index, "/limit");
            if page_size.is_empty() || !page_size.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return Err(invalid(origin, &format!("invalid huge page size {page_size:?}")));
            }
            let home = self.home(&C, &origin)?;
            let suffix = match home.version {
                Version::V1 => "limit_in_bytes",
                Version::V2 => "max",
            };
            let file = format!("hugetlb.{page_size}.{suffix}");
            let write = self.write(home, &C, file, limit, origin.clone());
            self.push(write);
            // Reserved pages count since Linux 5.7 only.
            let file = format!("hugetlb.{page_size}.rsvd.{suffix}");
            let write = self.write(home, &C, file, limit, origin);
            self.push(write.or_skip());
        }
        Ok(())
    }

    fn rdma(&mut self, limits: &[Rdma]) -> Result<(), Error> {
        const C: Controller = Controller::RDMA;
        for Rdma { device, handles, objects } in limits {
            let origin = Origin::within("/linux/resources/rdma", device, "");
            if device.is_empty() || device.contains([' ', '\n']) {
                return Err(invalid(origin, &format!("invalid RDMA device {device:?}")));
            }
            let home = self.home(&C, &origin)?;
            if handles.is_none() && objects.is_none() {
                return Err(invalid(origin, "neither hcaHandles nor hcaObjects is given"));
            }
            let mut value = device.clone();
            if let Some(n) = handles {
                value += &format!(" hca_handle={n}");
            }
            if let Some(n) = objects {
                value += &format!(" hca_object={n}");
            }
            let write = self.write(home, &C, "rdma.max", value, origin);
            self.push(write);
        }
        Ok(())
    }

    fn network(&mut self, network: &Network) -> Result<(), Error> {
        const CLASS: &str = "/linux/resources/network/classID";
        const PRIORITIES: &str = "/linux/resources/network/priorities";
        let class = network.class_id.filter(|n| *n != 0);
        if self.layout.mode == Mode::Unified {
            if class.is_some() {
                self.ignore(CLASS, NOT_ON_V2);
            }
            if !network.priorities.is_empty() {
                self.ignore(PRIORITIES, NOT_ON_V2);
            }
            return Ok(());
        }
        if let Some(class) = class {
            let c = Controller::NET_CLS;
            let home = self.home_v1(&c, &Origin::new(CLASS))?;
            let write = self.write(home, &c, "net_cls.classid", class, Origin::new(CLASS));
            self.push(write);
        }
        for (index, priority) in network.priorities.iter().enumerate() {
            let origin = Origin::within(PRIORITIES, index, "");
            one_line(&priority.name, &origin)?;
            let c = Controller::NET_PRIO;
            let home = self.home_v1(&c, &origin)?;
            let value = format!("{} {}", priority.name, priority.priority);
            let write = self.write(home, &c, "net_prio.ifpriomap", value, origin);
            self.push(write);
        }
        Ok(())
    }

    /// The home of a controller that v2 does not have.
    fn home_v1(&self, controller: &Controller, origin: &Origin) -> Result<Home, Error> {
        let dir = self.plan.dirs.iter().position(|dir| dir.controllers.contains(controller));
        let dir =
            dir.ok_or_else(|| Error::NoController { controller: controller.clone(), origin: Some(origin.clone()) })?;
        Ok(Home { dir, version: Version::V1 })
    }

    fn unified(&mut self, keys: &[(String, String)]) -> Result<(), Error> {
        if !keys.is_empty() && self.layout.mode != Mode::Unified {
            let origin = Origin::new("/linux/resources/unified");
            return Err(invalid(origin, "invalid configuration: cannot use unified on cgroup v1"));
        }
        for (key, value) in keys {
            let origin = Origin::within("/linux/resources/unified", key, "");
            if key.contains('/') {
                let why = format!("unified resource {key:?} must be a file name (no slashes)");
                return Err(invalid(origin, &why));
            }
            let Some((controller, _)) = key.split_once('.').filter(|(c, _)| !c.is_empty()) else {
                let why = format!("unified resource {key:?} must be in the form CONTROLLER.PARAMETER");
                return Err(invalid(origin, &why));
            };
            let controller = Controller(Cow::Owned(controller.into()));
            let home = self.home(&controller, &origin)?;
            for line in value.lines() {
                let write = self.write(home, &controller, key.clone(), line, origin.clone());
                self.push(write);
            }
        }
        Ok(())
    }
}

fn invalid(origin: Origin, why: &str) -> Error {
    Error::Invalid { origin, why: why.into() }
}

/// A newline would make two writes of one in some kernel files.
fn one_line(text: &str, origin: &Origin) -> Result<(), Error> {
    if text.contains('\n') {
        return Err(invalid(origin.clone(), &format!("{text:?} has more than one line")));
    }
    Ok(())
}
