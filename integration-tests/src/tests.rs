//! The tests, by what of the binary they are about.

mod annotations;
mod apparmor;
mod attributes;
mod builds;
mod calls;
mod cgroup;
mod checkpoint;
mod cli;
mod containerd;
mod control;
mod crash;
mod cri;
mod criu;
mod docker;
mod errors;
mod events;
mod exec;
mod exec_security;
mod fields;
mod flags;
mod hooks;
mod lifecycle;
mod limits;
mod lint;
mod list;
mod live_mounts;
mod memory;
mod mounts;
mod netdev;
mod podman;
mod pods;
mod process;
mod races;
mod rdt;
mod recipes;
mod rootfs;
mod rootless;
mod scale;
mod scopes;
mod seccomp;
mod security;
mod subgroups;
mod systemd;
mod terminal;
mod trace;
mod update;
mod users;
mod words;

use crate::context::{Context, Skip};

pub type Outcome = Result<(), Skip>;

#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    /// The environments in which a skip is a failure; their names are in `integration-tests/run`.
    pub must: &'static [&'static str],
    pub run: fn(&Context) -> Outcome,
}

impl Test {
    /// Whether it drives a real engine, which drives the binary.
    pub fn is_with_engine(&self) -> bool {
        self.must == ENGINES
    }
}

/// Where root runs containers.
const ROOT: &[&str] = &["host-root", "host-v2view", "vm-v2", "vm-systemd", "vm-v1"];
/// Where systemd makes the cgroups.
const SYSTEMD: &[&str] = &["vm-systemd", "vm-v1-systemd"];
/// Where an ordinary user runs containers.
const ROOTLESS: &[&str] = &["vm-rootless"];
/// Where an ordinary user's own systemd does.
const ROOTLESS_SYSTEMD: &[&str] = &["vm-rootless-systemd"];
/// Where the kernel has AppArmor.
const APPARMOR: &[&str] = &["vm-v2"];
/// Where criu works, and is worth its time: all of it, and what depends on the cgroups.
const CRIU: &[&str] = &["vm-criu"];
const CRIU_CGROUPS: &[&str] = &["vm-criu", "vm-v1", "vm-systemd"];
/// What depends on what happens to be installed.
const NOWHERE: &[&str] = &[];
/// What takes long, or measures: not on an emulated machine.
const HOST_ROOT: &[&str] = &["host-root"];
/// Where cgroup v2 is the only one, and the machine is a real one.
const UNIFIED: &[&str] = &["host-v2view"];
/// Where root has controllers to set limits with.
const LIMITS: &[&str] = &["host-root", "vm-v2", "vm-systemd", "vm-v1"];
/// Where root has cgroup v2 as all there is, with a controller or more.
const V2: &[&str] = &["host-v2view", "vm-v2", "vm-systemd"];
/// Where cgroup v2 has controllers for certain.
const CONTROLLERS: &[&str] = &["vm-v2"];
/// Where real engines are installed.
const ENGINES: &[&str] = &["engines"];
const EVERYWHERE: &[&str] = &["host-root", "host-v2view", "vm-v2", "vm-systemd", "vm-v1", "vm-rootless"];

pub fn all() -> impl Iterator<Item = Test> {
    [
        cli::TESTS,
        crash::TESTS,
        criu::TESTS,
        lifecycle::TESTS,
        lint::TESTS,
        list::TESTS,
        memory::TESTS,
        live_mounts::TESTS,
        mounts::TESTS,
        netdev::TESTS,
        process::TESTS,
        rdt::TESTS,
        fields::TESTS,
        rootfs::TESTS,
        scale::TESTS,
        errors::TESTS,
        words::TESTS,
        hooks::TESTS,
        security::TESTS,
        races::TESTS,
        seccomp::TESTS,
        annotations::TESTS,
        apparmor::TESTS,
        attributes::TESTS,
        calls::TESTS,
        cgroup::TESTS,
        limits::TESTS,
        checkpoint::TESTS,
        users::TESTS,
        exec::TESTS,
        exec_security::TESTS,
        flags::TESTS,
        terminal::TESTS,
        trace::TESTS,
        control::TESTS,
        update::TESTS,
        events::TESTS,
        subgroups::TESTS,
        systemd::TESTS,
        scopes::TESTS,
        containerd::TESTS,
        cri::TESTS,
        docker::TESTS,
        podman::TESTS,
        builds::TESTS,
        pods::TESTS,
        rootless::TESTS,
        recipes::TESTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// `tests! { "area": EVERYWHERE { one, two }, ROOT { three } }`: the table of an area's tests,
/// each a function of this module.
macro_rules! tests {
    ($area:literal: $($must:ident { $($name:ident),* $(,)? })*) => {
        pub const TESTS: &[crate::tests::Test] = &[$($(crate::tests::Test {
            name: concat!($area, "/", stringify!($name)),
            must: crate::tests::$must,
            run: $name,
        },)*)*];
    };
}
use tests;
