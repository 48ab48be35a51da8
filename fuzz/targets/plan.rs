//! A configuration to a plan and its words, on several hosts and under both cgroup managers.
#![no_main]

mod hosts;

use libfuzzer_sys::fuzz_target;
use orlop::config::Config;
use orlop::plan::{self, Options, exec};
use orlop::{CgroupManager, explain};

fuzz_target!(|text: &[u8]| {
    let Ok(config) = Config::parse(text) else { return };
    for host in hosts::hosts() {
        for cgroup_manager in [CgroupManager::Cgroupfs, CgroupManager::Systemd] {
            let options = Options { cgroup_manager, ..hosts::options() };
            let Ok(plan) = plan::plan(&config, &host, &options) else { continue };
            assert!(!explain::text(&plan).is_empty());
            let json: Result<serde_json::Value, _> = serde_json::from_str(&explain::json(&plan));
            assert!(json.is_ok(), "explain writes JSON");
            // A further process in it, once with the text as its own document.
            let command = exec::Command { args: vec!["sh"], ..exec::Command::default() };
            for program in [exec::Program::Command(&command), exec::Program::Document(text)] {
                let mut config = config.clone();
                if exec::substitute(&mut config, program).is_ok() {
                    let _planned = exec::plan(&config, &host, &options, &exec::Target::default());
                }
            }
        }
    }
});
