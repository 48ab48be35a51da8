//! Where each value of a JSON text stands.

use alloc::string::String;
use alloc::vec::Vec;

use crate::config::{Str, position, token_end};
use crate::plan::member;

/// A text that is JSON, and its values in order.
pub(super) struct Document<'t> {
    text: &'t str,
    nodes: Vec<Node<'t>>,
}

/// A value.
struct Node<'t> {
    parent: usize,
    name: Name<'t>,
    /// Where it begins: at its key where it has one.
    from: usize,
    start: usize,
    end: usize,
}

/// What a value is called in the one around it.
pub(super) enum Name<'t> {
    /// The document itself.
    Root,
    /// By a key.
    Member(Str<'t>),
    /// By its place.
    Index(usize),
}

/// The document itself.
pub(super) const ROOT: usize = 0;

impl<'t> Document<'t> {
    /// Notes the values of a text that is JSON.
    pub(super) fn new(text: &'t str) -> Document<'t> {
        let bytes = text.as_bytes();
        let mut nodes: Vec<Node<'t>> = Vec::new();
        // What is open: the value, and how many it has so far.
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut key = None;
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let from = at;
            at += 1;
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b':' | b',' => {}
                b'}' | b']' => {
                    if let Some(node) = open.pop().and_then(|(closed, _)| nodes.get_mut(closed)) {
                        node.end = at;
                    }
                }
                _ => {
                    let in_object = open.last().is_some_and(|(last, _)| bytes[nodes[*last].start] == b'{');
                    if in_object && key.is_none() {
                        at = token_end(bytes, from);
                        let name: Str<'t> = serde_json::from_str(&text[from..at]).unwrap_or_default();
                        key = Some((from, name));
                        continue;
                    }
                    let parent = open.last().map_or(ROOT, |(last, _)| *last);
                    let (name, begin) = match (key.take(), open.last_mut()) {
                        (Some((begin, name)), _) => (Name::Member(name), begin),
                        (None, Some((_, count))) => {
                            *count += 1;
                            (Name::Index(*count - 1), from)
                        }
                        (None, None) => (Name::Root, from),
                    };
                    if matches!(byte, b'{' | b'[') {
                        open.push((nodes.len(), 0));
                    } else {
                        at = token_end(bytes, from);
                    }
                    nodes.push(Node { parent, name, from: begin, start: from, end: at });
                }
            }
        }
        Document { text, nodes }
    }

    /// The parts of a value.
    pub(super) fn children(&self, node: usize) -> impl Iterator<Item = (usize, &Name<'t>)> {
        let end = self.nodes.get(node).map_or(0, |node| node.end);
        let behind = self.nodes.iter().enumerate().skip(node + 1).take_while(move |(_, child)| child.start < end);
        behind.filter(move |(_, child)| child.parent == node).map(|(index, child)| (index, &child.name))
    }

    /// A member of a value.
    pub(super) fn member(&self, node: usize, key: &str) -> Option<usize> {
        let is_meant = |name: &Name<'_>| match name {
            Name::Root => false,
            Name::Member(name) => *name == *key,
            Name::Index(index) => key.parse() == Ok(*index),
        };
        self.children(node).find(|(_, name)| is_meant(name)).map(|(child, _)| child)
    }

    /// The value at a pointer, or the innermost one around where it would be.
    pub(super) fn nearest(&self, pointer: &str) -> usize {
        let mut node = ROOT;
        for key in pointer.split('/').skip(1) {
            match self.member(node, &key.replace("~1", "/").replace("~0", "~")) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// The value at a pointer.
    pub(super) fn find(&self, pointer: &str) -> Option<usize> {
        let node = self.nearest(pointer);
        (self.pointer(node) == pointer).then_some(node)
    }

    /// The innermost value that has this byte, its key included.
    pub(super) fn at(&self, offset: usize) -> usize {
        let has = |node: &Node<'_>| (node.from..node.end).contains(&offset);
        self.nodes.iter().rposition(has).unwrap_or(ROOT)
    }

    /// A value's pointer.
    pub(super) fn pointer(&self, node: usize) -> String {
        match self.nodes.get(node) {
            Some(Node { parent, name: Name::Member(key), .. }) => member(&self.pointer(*parent), key),
            Some(Node { parent, name: Name::Index(index), .. }) => alloc::format!("{}/{index}", self.pointer(*parent)),
            _ => String::new(),
        }
    }

    /// The value's text; empty for what there is not.
    pub(super) fn text(&self, node: usize) -> &'t str {
        self.nodes.get(node).map_or("", |node| &self.text[node.start..node.end])
    }

    /// Where the value starts, in bytes.
    pub(super) fn start(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(0, |node| node.start)
    }

    /// From where to where it stands, its key included.
    pub(super) fn span(&self, node: usize) -> core::ops::Range<usize> {
        self.nodes.get(node).map_or(0..0, |node| node.from..node.end)
    }

    /// Line and column of a value, both from 1.
    pub(super) fn position(&self, node: usize) -> (usize, usize) {
        position(self.text.as_bytes(), self.start(node))
    }
}
