//! `lint` finds an error exactly where reading or planning fails, and says where.
#![no_main]

mod hosts;

use libfuzzer_sys::fuzz_target;
use orlop::config::Config;
use orlop::lint::{self, Severity};
use orlop::plan;

fuzz_target!(|text: &[u8]| {
    for host in hosts::hosts() {
        let options = hosts::options();
        let findings = lint::check(text, &host, &options);
        let created = Config::parse(text).map_err(drop).and_then(|c| plan::plan(&c, &host, &options).map_err(drop));
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(created.is_err(), errors > 0, "{}", lint::text("", &findings));
        let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
        assert!(findings.iter().all(|finding| (1..=lines).contains(&finding.line) && finding.column >= 1));
        let json: Result<serde_json::Value, _> = serde_json::from_str(&lint::json(&findings));
        assert!(json.is_ok());
    }
});
