//! What commands print: columns as Go's tabwriter lays them out, JSON as Go's encoder writes it.

use liballoc::string::{String, ToString};

use orlop_sys::fd::STDOUT;
use orlop_sys::{Errno, fs};
use serde::Serialize;

/// Writes to standard output.
pub fn print(text: &str) -> Result<(), Errno> {
    fs::write_all(STDOUT, text.as_bytes())
}

/// Lays rows out in columns: at least 12 wide and 3 apart, as runc's `list` does.
pub fn table<const N: usize>(rows: &[[&str; N]]) -> String {
    const LEAST: usize = 12;
    const GAP: usize = 3;
    let mut widths = [LEAST; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (cell.chars().count() + GAP).max(*width);
        }
    }
    let mut text = String::with_capacity(rows.len() * (widths.iter().sum::<usize>() + 1));
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            // What follows the last cell would only be blanks.
            if column + 1 < N {
                text.extend(core::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

/// The lines of a host's ps that are about `pids`, after its title; the column is found by its name.
pub fn processes(ps: &str, pids: &[i32]) -> Result<String, &'static str> {
    let mut lines = ps.lines();
    let title = lines.next().unwrap_or_default();
    let column =
        title.split_whitespace().position(|word| word == "PID").ok_or("couldn't find PID field in ps output")?;
    let mut text = String::from(title);
    text.push('\n');
    for line in lines.filter(|line| !line.is_empty()) {
        let word = line.split_whitespace().nth(column).unwrap_or_default();
        let pid = word.parse().map_err(|_| "unable to parse pid in ps output")?;
        if pids.contains(&pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// JSON on one line, as Go's `Marshal`: no newline at the end.
pub fn compact(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_vec(value).map(|bytes| escape(&bytes))
}

/// Go escapes these for the sake of HTML. None of them stands outside a string in JSON.
fn escape(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text.to_string();
    }
    let mut escaped = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_as_runc_prints_them() {
        let rows = [
            ["ID", "PID", "STATUS", "BUNDLE"],
            ["a-name-of-19-letters", "7", "running", "/b"],
            ["äöü", "12345", "stopped", "/bundle"],
        ];
        assert_eq!(
            table(&rows),
            "ID                     PID         STATUS      BUNDLE\n\
             a-name-of-19-letters   7           running     /b\n\
             äöü                    12345       stopped     /bundle\n"
        );
    }

    #[test]
    fn processes_of_one_container() {
        let ps = "UID   PID  CMD\nroot    1  init\nroot   12  sh -c 7\n 99     7  sleep 1\n";
        assert_eq!(processes(ps, &[7, 1]).unwrap(), "UID   PID  CMD\nroot    1  init\n 99     7  sleep 1\n");
        assert!(processes("UID CMD\n", &[1]).is_err());
        assert!(processes("PID\nx\n", &[1]).is_err());
    }

    #[test]
    fn json_as_go_writes_it() {
        let value = json!({"a": [1, {"b": "<x>&\u{2028}ü"}], "c": [], "d": {}, "e": null});
        assert_eq!(
            compact(&value).unwrap(),
            "{\"a\":[1,{\"b\":\"\\u003cx\\u003e\\u0026\\u2028ü\"}],\"c\":[],\"d\":{},\"e\":null}"
        );
        assert_eq!(compact(&json!([12, 15])).unwrap(), "[12,15]");
    }
}
