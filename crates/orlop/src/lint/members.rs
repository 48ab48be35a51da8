//! Members that nobody reads, and members that the specification requires and reading does not.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Note;
use super::document::{Document, Name, ROOT};
use crate::config::{Config, Shape, Shaped};
use crate::plan::member;

/// Members of other platforms: the specification's, and of no use here.
const FOREIGN: &[&str] =
    &["/windows", "/solaris", "/vm", "/zos", "/freebsd", "/process/commandLine", "/process/user/username"];

/// Notes every member that is in no object of the specification.
pub(super) fn unknown(document: &Document<'_>, shape: &Shape, notes: &mut Vec<Note>) {
    below(document, ROOT, shape, notes);
}

fn below(document: &Document<'_>, node: usize, shape: &Shape, notes: &mut Vec<Note>) {
    for (child, name) in document.children(node) {
        let inner = match (shape, name) {
            (Shape::List(inner), Name::Index(_)) | (Shape::Map(inner), Name::Member(_)) => inner,
            (Shape::Object(members), Name::Member(key)) => {
                match members.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
                    Some((known, inner)) => {
                        if *key != **known {
                            let what = format!("is read as {known:?}, as runc does; crun and youki ignore it");
                            notes.push(Note::warning(document.pointer(child), what));
                        }
                        inner
                    }
                    None => {
                        notes.push(stranger(document.pointer(child), key, members));
                        continue;
                    }
                }
            }
            // Reading says what is wrong here.
            _ => continue,
        };
        below(document, child, inner, notes);
    }
}

fn stranger(pointer: String, key: &str, members: &[(&str, &Shape)]) -> Note {
    if FOREIGN.contains(&pointer.as_str()) {
        return Note::warning(pointer, "is of another platform, and ignored");
    }
    let note = Note::warning(pointer, format!("unknown member {key:?}, which is ignored"));
    if let Some(near) = nearest(key, members.iter().map(|(known, _)| *known)) {
        return note.hint(format!("did you mean {near:?}?"));
    }
    match elsewhere(key, "", &Config::SHAPE) {
        Some(place) => note.hint(format!("did you mean {place}?")),
        None => note,
    }
}

/// Where the specification has a member of that name.
fn elsewhere(key: &str, pointer: &str, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Object(members) => {
            if let Some((name, _)) = members.iter().find(|(name, _)| *name == key) {
                return Some(member(pointer, name));
            }
            members.iter().find_map(|(name, inner)| elsewhere(key, &member(pointer, name), inner))
        }
        // A place in a list or map has no name to give.
        Shape::List(_) | Shape::Map(_) | Shape::Plain => None,
    }
}

/// The name that is most like a text, if one is much like it.
pub(super) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = (text.len() / 3).clamp(1, 3);
    let near = names.map(|name| (distance(&text.to_ascii_lowercase(), &name.to_ascii_lowercase()), name));
    near.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many letters have to be changed, added or taken away to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// For a word that is none of a list, both of which stand in the error: the word of the list that it is like.
pub(super) fn nearest_value(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("invalid value: string \"")?;
    let (word, rest) = rest.split_once("\", expected ")?;
    let (_, list) = rest.split_once(" (")?;
    nearest(word, list.strip_suffix(')')?.split(", "))
}

/// What the specification requires, and Go's zero value stands in for: the object, the member, what is taken.
const REQUIRED: &[(&str, &str, &str)] = &[
    ("/process/user", "uid", "0"),
    ("/process/user", "gid", "0"),
    ("/process/ioPriority", "priority", "0"),
    ("/linux/memoryPolicy", "mode", "none"),
    ("/linux/resources/blockIO/throttleReadBpsDevice/*", "rate", "0, which is no limit,"),
    ("/linux/resources/blockIO/throttleWriteBpsDevice/*", "rate", "0, which is no limit,"),
    ("/linux/resources/blockIO/throttleReadIOPSDevice/*", "rate", "0, which is no limit,"),
    ("/linux/resources/blockIO/throttleWriteIOPSDevice/*", "rate", "0, which is no limit,"),
    ("/linux/seccomp/syscalls/*", "names", "no name"),
    ("/linux/devices/*", "major", "0"),
    ("/linux/devices/*", "minor", "0"),
];

/// Notes every member that the specification requires and that is not there, though reading does without it.
pub(super) fn left_out(document: &Document<'_>, notes: &mut Vec<Note>) {
    for &(object, key, taken) in REQUIRED {
        let nodes: Vec<usize> = match object.strip_suffix("/*") {
            Some(list) => {
                document.find(list).map_or_else(Vec::new, |list| document.children(list).map(|(n, _)| n).collect())
            }
            None => document.find(object).into_iter().collect(),
        };
        for node in nodes.into_iter().filter(|&node| document.text(node).starts_with('{')) {
            let is_fifo = document.member(node, "type").is_some_and(|kind| document.text(kind) == "\"p\"");
            if document.member(node, key).is_some() || (object == "/linux/devices/*" && is_fifo) {
                continue;
            }
            let what = format!("the specification requires `{key}`; {taken} is taken");
            notes.push(Note::warning(member(&document.pointer(node), key), what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, wanted) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("rlimit", "rlimits", 1), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), wanted, "{a} {b}");
            assert_eq!(distance(b, a), wanted, "{b} {a}");
        }
    }

    #[test]
    fn words_of_an_error() {
        let message = "invalid value: string \"SCHED_BACH\", expected a scheduling policy (SCHED_OTHER, SCHED_BATCH)";
        assert_eq!(nearest_value(message), Some("SCHED_BATCH"));
        assert_eq!(nearest_value("invalid type: null, expected a string"), None);
    }
}
