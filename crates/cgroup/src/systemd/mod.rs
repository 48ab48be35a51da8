//! Cgroups that systemd makes: transient scopes, over D-Bus. See org.freedesktop.systemd1(5) and
//! systemd.resource-control(5).
//!
//! systemd owns the cgroup tree of its host. A scope is a cgroup that it makes for processes which somebody else
//! has started, and delegates to them: what is below it, and its own limits, are ours to write.
//!
//! ```no_run
//! use orlop_cgroup::{Group, Layout, Limit, Options, Resources, systemd};
//!
//! let layout = Layout::probe()?;
//! let place = systemd::Place::from_config(Some("system.slice:demo:one"), "one", &systemd::Bus::System, "")?;
//! let mut resources = Resources::default();
//! resources.pids = Some(Limit::At(20));
//! let plan = systemd::plan(&layout, &place, &resources, Options::default(), core::iter::empty())?;
//! let pid = 1234;
//! if let Some(scope) = &plan.scope {
//!     systemd::Client::connect(&scope.bus)?.start(scope, pid, None)?;
//! }
//! let mut group = Group::create(&plan)?;
//! group.adopt(pid, orlop_cgroup::Joined::Unified)?;
//! group.apply(&plan)?;
//! # Ok::<(), orlop_cgroup::Error>(())
//! ```

mod annotation;
mod bus;
mod client;
mod place;
mod properties;
#[cfg(test)]
mod tests;
mod wire;

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Error;
use crate::layout::{Layout, Version};
use crate::path::CgroupPath;
use crate::plan::{Manager, Options, Origin, Plan};
use crate::resources::Resources;

pub use bus::Bus;
pub use client::Client;
pub use place::Place;
pub use wire::Value;

/// A scope to be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// Whose systemd makes it.
    pub bus: Bus,
    /// Its name, such as `orlop-web.scope`.
    pub unit: String,
    /// What it is given, besides its processes.
    pub properties: Vec<Property>,
}

/// A property of a scope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Property {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: Value,
    /// What of the configuration asked for it; empty for what every scope has.
    pub origin: Origin,
    /// If systemd has no such property, or not with that value.
    pub unknown: Unknown,
}

/// What to do if systemd has no such property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unknown {
    /// It is an error.
    Fail,
    /// Do without: an older systemd behaves so anyway, or the limit is written directly.
    Skip,
}

impl Scope {
    /// The properties that an update changes: the limits.
    pub fn limits(&self) -> impl Iterator<Item = &Property> {
        // Fixed when the unit is made, unlike the file that it stands for.
        let fixed = |property: &Property| property.name == "OOMPolicy";
        self.properties.iter().filter(move |p| p.origin.as_str().starts_with("/linux/resources/") && !fixed(p))
    }
}

/// Plans the scope at `place` with these limits and the properties that the annotations ask for: a plan whose
/// [`scope`](Plan::scope) is started first, and whose directories and writes are then handled as any other's.
pub fn plan<'a>(
    layout: &Layout,
    place: &Place,
    resources: &Resources,
    options: Options,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Plan, Error> {
    if options.rootless && layout.hierarchies.iter().any(|h| h.version == Version::V1) {
        return Err(Error::NotSupported("rootless containers with the systemd cgroup manager on cgroup v1"));
    }
    let tail = if place.below.is_empty() { String::new() } else { format!("/{}", place.below) };
    let path = CgroupPath::Absolute(format!("{}{tail}", place.path));
    let mut plan = crate::plan::plan(layout, &path, resources, Options { manager: Manager::Cgroupfs, ..options })?;
    for dir in &mut plan.dirs {
        dir.outer_len = dir.path.len().saturating_sub(tail.len());
    }
    let on_v1 = layout.hierarchies.iter().any(|h| h.version == Version::V1);
    let mut list = Vec::with_capacity(16);
    let fixed = |name, value| Property { unknown: Unknown::Fail, ..properties::property(name, value, Origin::new("")) };
    let known = |name, value| properties::property(name, value, Origin::new(""));
    list.push(fixed("Description", Value::Text(format!("orlop container {}", place.id))));
    list.push(Property {
        origin: Origin::new("/linux/cgroupsPath"),
        ..fixed("Slice", Value::Text(place.slice.clone()))
    });
    list.push(fixed("Delegate", Value::Bool(true)));
    list.push(fixed("DefaultDependencies", Value::Bool(false)));
    // As without systemd, where every controller counts; and memory cannot be counted from a later time on.
    for name in [
        "MemoryAccounting",
        "CPUAccounting",
        if on_v1 { "BlockIOAccounting" } else { "IOAccounting" },
        "TasksAccounting",
    ] {
        list.push(known(name, Value::Bool(true)));
    }
    list.extend(properties::devices(&plan));
    list.extend(properties::limits(&mut plan));
    for property in annotation::properties(annotations)? {
        properties::set(&mut list, property);
    }
    plan.scope = Some(Scope { bus: place.bus.clone(), unit: place.unit.clone(), properties: list });
    Ok(plan)
}

/// Has a plan of other limits change the properties of a scope that runs, too: see [`Client::update`]. Without it
/// systemd would put the old limits in force again when it reloads.
pub fn follow(plan: &mut Plan, bus: &Bus, unit: &str) {
    let properties = properties::devices(plan).into_iter().chain(properties::limits(plan)).collect();
    plan.scope = Some(Scope { bus: bus.clone(), unit: unit.into(), properties });
}
