//! What `spec` writes.

use super::super::*;
use super::fixture;

#[track_caller]
fn check(config: &Config<'_>, snapshot: &str) {
    let text = config.to_json(Layout::Tabs);
    assert_eq!(text, fixture(snapshot).trim_end());
    assert_eq!(Config::parse(text.as_bytes()).unwrap(), *config);
}

#[test]
fn the_example_has_no_cgroup_namespace_on_v1() {
    check(&Config::example(Hierarchy::Legacy), "example-legacy.json");
}

#[test]
fn the_example_has_a_cgroup_namespace_on_v2() {
    check(&Config::example(Hierarchy::Unified), "example-unified.json");
}

#[test]
fn the_rootless_example_maps_the_caller_to_root() {
    check(&Config::example_rootless(Hierarchy::Unified, 1000, 100), "example-rootless.json");
}
