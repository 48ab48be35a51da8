//! What the kernel says of its cgroups, as text that may be anything, and a limit planned for what was understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_cgroup::{CgroupPath, Layout, Limit, Options, Resources, plan};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (mounts, own) = text.split_once("\n\n").unwrap_or((&text, "0::/\n"));
    let Ok(layout) = Layout::parse(mounts, own) else { return };
    let path = own.lines().next().unwrap_or_default();
    let Ok(path) = CgroupPath::from_config(Some(path), "fuzzed") else { return };
    let resources = Resources { pids: Some(Limit::At(5)), ..Resources::default() };
    if let Ok(plan) = plan(&layout, &path, &resources, Options::default()) {
        // Every directory lies below its mount.
        assert!(
            plan.dirs
                .iter()
                .all(|dir| dir.path.len() >= dir.mount_len && !dir.path.split('/').any(|part| part == ".."))
        );
    }
});
