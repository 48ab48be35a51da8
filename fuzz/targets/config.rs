//! Any bytes as each document: they are read or refused, and what was read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config::{Config, Document, Layout, Process, Resources};

fuzz_target!(|text: &[u8]| {
    match Config::parse(text) {
        Ok(config) => {
            for layout in [Layout::Compact, Layout::Tabs] {
                let written = config.to_json(layout);
                let again = Config::parse(written.as_bytes()).expect("what was written can be read");
                assert_eq!(again, config);
            }
        }
        // The place is one of the text.
        Err(error) => assert!(error.line >= 1 && error.line <= 1 + text.iter().filter(|b| **b == b'\n').count()),
    }
    if let Ok(process) = Process::parse(text) {
        let written = process.to_json(Layout::Compact);
        assert_eq!(Process::parse(written.as_bytes()).expect("what was written can be read"), process);
    }
    if let Ok(resources) = Resources::parse(text) {
        let written = resources.to_json(Layout::Compact);
        assert_eq!(Resources::parse(written.as_bytes()).expect("what was written can be read"), resources);
    }
});
