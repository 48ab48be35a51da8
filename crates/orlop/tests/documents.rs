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

/// What went wrong elsewhere has its row in SECURITY.md, each with a test that exists; and the tests named for
/// something are in it.
#[test]
fn what_went_wrong_elsewhere_is_tested() {
    const KNOWN: &str = "2016-3697 2016-8867 2016-9962 2019-5736 2019-16884 2019-19921 2021-30465 2021-43784 2022-29162 \
        2022-27650 2025-27612 2023-25809 2023-27561 2023-28642 2024-21626 2024-45310 2024-40635 2025-31133 2025-62161 \
        2025-52565 2025-52881 2025-62596 2025-54867 2025-24965 2025-23266 2026-30892 2026-41579 2026-47766 2024-3154";
    let document = read("SECURITY.md");
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| CVE-")).collect();
    for row in &rows {
        let tests = quoted(row).filter(|word| word.contains(".rs: ")).count();
        assert!(tests > 0, "no test: {row}");
    }
    for id in KNOWN.split_whitespace() {
        let id = format!("CVE-{id}");
        assert!(rows.iter().any(|row| row.split([' ', ',']).any(|word| word == id)), "no row: {id}");
    }
    for entry in fs::read_dir(root().join("integration-tests/src/tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        for line in fs::read_to_string(&path).unwrap().lines().filter(|line| line.starts_with("fn cve_")) {
            let test = line["fn ".len()..].split('(').next().unwrap();
            assert!(document.contains(&format!("{name}: {test}`")), "SECURITY.md has no {name}: {test}");
        }
    }
}
