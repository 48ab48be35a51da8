//! The documents at the root name tests and files that exist.

use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: &[&str] =
    &["README.md", "ARCHITECTURE.md", "DESIGN.md", "COMPARE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between single backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn named_tests_exist() {
    let mut count = 0;
    for document in DOCUMENTS {
        for named in quoted(&read(document)) {
            let Some((file, test)) = named.split_once(".rs: ") else { continue };
            let source = read(&format!("{file}.rs"));
            assert!(source.contains(&format!("fn {test}(")), "{document}: {named}");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
}

#[test]
fn named_files_exist() {
    for document in DOCUMENTS {
        let text = read(document);
        let paths = quoted(&text).filter(|word| word.starts_with("crates/") && !word.contains(' '));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for path in paths.chain(links) {
            let file = path.split('#').next().unwrap_or_default();
            assert!(file.is_empty() || root().join(file).exists(), "{document}: {path}");
        }
    }
}

/// A heading's anchor, as a link names it.
#[test]
fn named_headings_exist() {
    for document in DOCUMENTS {
        for link in read(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, anchor)) = link.split_once('#') else { continue };
            let target = read(if file.is_empty() { document } else { file });
            let found = target.lines().filter(|line| line.starts_with('#')).any(|line| {
                line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-").replace([',', '.', '?'], "")
                    == anchor
            });
            assert!(found, "{document}: {link}");
        }
    }
}
