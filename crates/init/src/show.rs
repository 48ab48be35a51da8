//! How `orlop explain` prints the fields of a step. The init program has none of this.

use core::fmt::{self, Write};

use orlop_sys::mount::{Attr, Propagation, Reach};
use orlop_sys::process::Clone as CloneFlags;
use orlop_sys::thread::SockFilter;

use crate::plan::Blob;
use crate::step::{
    Attempt, Capabilities, DeviceKind, Environment, Follow, Groups, List, Make, ModeOf, NO_VALUE, Newlines, NodeBy,
    OldRoot, OverProc, Param, Place, Slot, Text,
};

/// A field that can be printed, given the blob that its strings stand in.
pub trait Show {
    /// Prints it.
    fn show(&self, blob: &Blob<'_>, out: &mut dyn Write) -> fmt::Result;
}

macro_rules! show {
    ($($kind:ty: |$value:ident, $blob:ident, $out:ident| $body:expr;)*) => {$(
        impl Show for $kind {
            fn show(&self, $blob: &Blob<'_>, $out: &mut dyn Write) -> fmt::Result {
                let $value = self;
                let _ = $blob;
                $body
            }
        }
    )*};
}

fn text(at: Text, blob: &Blob<'_>, out: &mut dyn Write) -> fmt::Result {
    if at == NO_VALUE {
        return out.write_char('-');
    }
    for chunk in blob.text(at).map(|text| text.to_bytes().utf8_chunks()).into_iter().flatten() {
        out.write_str(chunk.valid())?;
        if !chunk.invalid().is_empty() {
            out.write_char('\u{fffd}')?;
        }
    }
    Ok(())
}

show! {
    Text: |value, blob, out| text(*value, blob, out);
    Slot: |value, _blob, out| if *value == Slot::NONE { write!(out, "-") } else { write!(out, "#{}", value.0) };
    u32: |value, _blob, out| write!(out, "{value}");
    i32: |value, _blob, out| write!(out, "{value}");
    u64: |value, _blob, out| if *value == u64::MAX { out.write_str("unlimited") } else { write!(out, "{value}") };
    bool: |value, _blob, out| write!(out, "{value}");
    Attr: |value, _blob, out| if value.is_empty() { out.write_str("-") } else { write!(out, "{value}") };
    Propagation: |value, _blob, out| write!(out, "{value}");
    CloneFlags: |value, _blob, out| write!(out, "{value}");
    Reach: |value, _blob, out| out.write_str(match value { Reach::One => "one", Reach::Tree => "tree" });
    Make: |value, _blob, out| out.write_str(match value {
        Make::Directory => "directory", Make::File => "file", Make::LikeSource => "like-source" });
    ModeOf: |value, _blob, out| out.write_str(match value { ModeOf::Nothing => "-", ModeOf::Target => "target" });
    OverProc: |value, _blob, out| out.write_str(match value {
        OverProc::Allowed => "allowed", OverProc::Refused => "refused", OverProc::RefusedByLink => "refused-by-link", OverProc::BySameKind => "by-procfs" });
    Follow: |value, _blob, out| out.write_str(match value { Follow::Links => "links", Follow::Nothing => "nothing",
        Follow::NotLast => "not-last" });
    NodeBy: |value, _blob, out| out.write_str(match value { NodeBy::Mknod => "mknod", NodeBy::Bind => "bind" });
    Groups: |value, _blob, out| out.write_str(match value {
        Groups::Set => "set", Groups::SetIfAllowed => "set-if-allowed", Groups::Keep => "keep" });
    OldRoot: |value, _blob, out| out.write_str(match value { OldRoot::Alone => "alone", OldRoot::MaySpread => "may-spread" });
    Attempt: |value, _blob, out| out.write_str(match value { Attempt::First => "first", Attempt::Last => "last" });
    Newlines: |value, _blob, out| out.write_str(match value { Newlines::Both => "both", Newlines::Plain => "plain" });
    DeviceKind: |value, _blob, out| out.write_str(match value {
        DeviceKind::Character => "c", DeviceKind::Block => "b", DeviceKind::Fifo => "p" });
    Environment: |value, _blob, out| out.write_str(match value {
        Environment::Hook => "hook", Environment::Program => "program" });
    Place: |value, _blob, out| out.write_str(match value {
        Place::BeforePivot => "before-pivot", Place::Container => "container" });
    List<Text>: |value, blob, out| {
        for (i, &item) in blob.texts(*value).iter().enumerate() {
            if i > 0 { out.write_char(' ')?; }
            text(item, blob, out)?;
        }
        Ok(())
    };
    Capabilities: |value, _blob, out| write!(out, "{:#x}", value.0);
    List<SockFilter>: |value, _blob, out| write!(out, "{} instructions", value.len);
    List<u32>: |value, blob, out| {
        for (i, n) in blob.words(*value).iter().enumerate() {
            write!(out, "{}{n}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    };
    List<Param>: |value, blob, out| {
        for (i, param) in blob.params(*value).iter().enumerate() {
            if i > 0 { out.write_char(',')?; }
            text(param.key, blob, out)?;
            if param.value != NO_VALUE {
                out.write_char('=')?;
                text(param.value, blob, out)?;
            }
        }
        Ok(())
    };
}
