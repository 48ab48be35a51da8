//! What the tests of `lint` share: its options, and its findings as lines.

use orlop::lint::Finding;
use orlop::plan::{Console, Options};

pub(crate) fn options() -> Options<'static> {
    // A terminal is one wherever its master goes.
    Options { id: "linted", bundle: "/bundle", console: Console::Caller { rows: 0, columns: 0 }, ..Options::default() }
}

pub(crate) fn lines(findings: &[Finding]) -> Vec<String> {
    let hint = |finding: &Finding| finding.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
    let line = |f: &Finding| format!("{}: {}: {}{}", f.severity.name(), f.pointer, f.message, hint(f));
    findings.iter().map(line).collect()
}
