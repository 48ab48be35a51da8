//! The tests, by what of the binary they are about.

mod cgroup;
mod cli;
mod errors;
mod exec;
mod lifecycle;
mod list;
mod process;
mod rootfs;
mod security;
mod terminal;

use crate::context::{Context, Skip};

pub type Outcome = Result<(), Skip>;

#[derive(Clone, Copy)]
pub struct Test {
    pub name: &'static str,
    /// The environments in which a skip is a failure; their names are in `integration-tests/run`.
    pub must: &'static [&'static str],
    pub run: fn(&Context) -> Outcome,
}

/// Where root runs containers.
const ROOT: &[&str] = &["host-root", "host-v2view", "vm-v2", "vm-systemd", "vm-v1"];
/// Where root has controllers to set limits with.
const LIMITS: &[&str] = &["host-root", "vm-v2", "vm-systemd", "vm-v1"];
const EVERYWHERE: &[&str] = &["host-root", "host-v2view", "vm-v2", "vm-systemd", "vm-v1", "vm-rootless"];

pub fn all() -> impl Iterator<Item = Test> {
    [
        cli::TESTS,
        lifecycle::TESTS,
        list::TESTS,
        process::TESTS,
        rootfs::TESTS,
        errors::TESTS,
        security::TESTS,
        cgroup::TESTS,
        exec::TESTS,
        terminal::TESTS,
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
