//! Mount options: one row each. A new one is a row here and a line in a snapshot.
//!
//! What an option means is mount(8)'s; what it becomes is an attribute of mount_setattr(2), a flag of the
//! superblock (fsconfig(2)), or a propagation.

use alloc::vec::Vec;

use orlop_init::step::Follow;
use orlop_sys::mount::{Attr, Propagation, Reach};

use crate::config::Mount;

/// What one option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Sets an attribute of the mount.
    Set(Attr),
    /// Clears one.
    Clear(Attr),
    /// Sets the access time policy, which is one field.
    Atime(Attr),
    /// Gives a policy up that was asked for before: the default's turn, or what a copied mount has.
    AtimeOff(Attr),
    /// Sets an attribute of the mount and of all below.
    SetTree(Attr),
    /// Clears one there.
    ClearTree(Attr),
    /// Sets the access time policy there.
    AtimeTree(Attr),
    /// A flag that the file system's configuration takes.
    Superblock(&'static core::ffi::CStr),
    /// A copy of what is at the source.
    Bind(Reach),
    /// How events spread.
    Spread(Propagation, Reach),
    /// What is mounted there already gets new options.
    Remount,
    /// What the kernel does anyway, or only changes what it logs.
    Nothing,
    /// Ids of the files, as the mount's mappings or the container's user namespace have them.
    Idmap(Reach),
    /// A symbolic link at the source is not followed.
    SourceNofollow,
    /// A symbolic link at the destination is not followed.
    TargetNofollow,
    /// What the image has there is copied into the new file system.
    CopyUp,
    /// A symbolic link at the source is made again at the destination.
    CopySymlink,
}

use Effect::{
    Atime, AtimeOff, AtimeTree, Bind, Clear, ClearTree, CopySymlink, CopyUp, Idmap, Nothing, Remount, Set, SetTree,
    SourceNofollow, Spread, Superblock, TargetNofollow,
};

const OPTIONS: &[(&str, Effect)] = &[
    ("async", Superblock(c"async")),
    ("atime", AtimeOff(Attr::NOATIME)),
    ("bind", Bind(Reach::One)),
    ("copy-symlink", CopySymlink),
    ("defaults", Nothing),
    ("dest-nofollow", TargetNofollow),
    ("dev", Clear(Attr::NODEV)),
    ("diratime", Clear(Attr::NODIRATIME)),
    ("dirsync", Superblock(c"dirsync")),
    ("exec", Clear(Attr::NOEXEC)),
    ("idmap", Idmap(Reach::One)),
    ("iversion", Superblock(c"iversion")),
    ("lazytime", Superblock(c"lazytime")),
    ("loud", Nothing),
    ("mand", Superblock(c"mand")),
    ("noatime", Atime(Attr::NOATIME)),
    ("nodev", Set(Attr::NODEV)),
    ("nodiratime", Set(Attr::NODIRATIME)),
    ("noexec", Set(Attr::NOEXEC)),
    ("noiversion", Superblock(c"noiversion")),
    ("nolazytime", Superblock(c"nolazytime")),
    ("nomand", Superblock(c"nomand")),
    ("norelatime", AtimeOff(Attr::NONE)),
    ("nostrictatime", AtimeOff(Attr::STRICTATIME)),
    ("nosuid", Set(Attr::NOSUID)),
    ("nosymfollow", Set(Attr::NOSYMFOLLOW)),
    ("private", Spread(Propagation::PRIVATE, Reach::One)),
    ("ratime", AtimeTree(Attr::NONE)),
    ("rbind", Bind(Reach::Tree)),
    ("rdev", ClearTree(Attr::NODEV)),
    ("rdiratime", ClearTree(Attr::NODIRATIME)),
    ("relatime", Atime(Attr::NONE)),
    ("remount", Remount),
    ("rexec", ClearTree(Attr::NOEXEC)),
    ("ridmap", Idmap(Reach::Tree)),
    ("rnoatime", AtimeTree(Attr::NOATIME)),
    ("rnodev", SetTree(Attr::NODEV)),
    ("rnodiratime", SetTree(Attr::NODIRATIME)),
    ("rnoexec", SetTree(Attr::NOEXEC)),
    ("rnorelatime", AtimeTree(Attr::STRICTATIME)),
    ("rnostrictatime", AtimeTree(Attr::NONE)),
    ("rnosuid", SetTree(Attr::NOSUID)),
    ("rnosymfollow", SetTree(Attr::NOSYMFOLLOW)),
    ("ro", Set(Attr::RDONLY)),
    ("rprivate", Spread(Propagation::PRIVATE, Reach::Tree)),
    ("rrelatime", AtimeTree(Attr::NONE)),
    ("rro", SetTree(Attr::RDONLY)),
    ("rrw", ClearTree(Attr::RDONLY)),
    ("rshared", Spread(Propagation::SHARED, Reach::Tree)),
    ("rslave", Spread(Propagation::SLAVE, Reach::Tree)),
    ("rstrictatime", AtimeTree(Attr::STRICTATIME)),
    ("rsuid", ClearTree(Attr::NOSUID)),
    ("rsymfollow", ClearTree(Attr::NOSYMFOLLOW)),
    ("runbindable", Spread(Propagation::UNBINDABLE, Reach::Tree)),
    ("rw", Clear(Attr::RDONLY)),
    ("shared", Spread(Propagation::SHARED, Reach::One)),
    ("silent", Nothing),
    ("slave", Spread(Propagation::SLAVE, Reach::One)),
    ("src-nofollow", SourceNofollow),
    ("strictatime", Atime(Attr::STRICTATIME)),
    ("suid", Clear(Attr::NOSUID)),
    ("symfollow", Clear(Attr::NOSYMFOLLOW)),
    ("sync", Superblock(c"sync")),
    ("tmpcopyup", CopyUp),
    ("unbindable", Spread(Propagation::UNBINDABLE, Reach::One)),
];

/// The options that this version carries out, sorted; for `features`.
pub fn supported() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|(name, _)| *name)
}

/// Attributes to set and to clear.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Change {
    /// To set.
    pub set: Attr,
    /// To clear; the kernel clears first.
    pub clear: Attr,
}

impl Change {
    fn set(&mut self, attr: Attr) {
        self.set |= attr;
        self.clear = self.clear.without(attr);
    }

    fn clear(&mut self, attr: Attr) {
        self.clear |= attr;
        self.set = self.set.without(attr);
    }

    /// The policy is a field of its own: all of it is cleared, whatever it becomes.
    fn atime(&mut self, policy: Attr) {
        self.set = self.set.without(Attr::ATIME_MASK) | policy;
        self.clear |= Attr::ATIME_MASK;
    }

    fn atime_off(&mut self, policy: Attr) {
        if self.set.and(Attr::ATIME_MASK) == policy {
            self.set = self.set.without(policy);
            self.clear = self.clear.without(Attr::ATIME_MASK);
        }
    }

    /// Whether nothing changes.
    pub const fn is_empty(self) -> bool {
        self.set.is_empty() && self.clear.is_empty()
    }
}

/// What a new user namespace may not take from a mount that was there before; the access time policy is neither
/// refused nor taken away, unless another one is asked for.
const LOCKABLE: Attr =
    Attr::from_bits(Attr::RDONLY.bits() | Attr::NOSUID.bits() | Attr::NODEV.bits() | Attr::NOEXEC.bits());

/// What `mount --bind -o` sets as a whole.
const BIND_FLAGS: Attr = Attr::from_bits(LOCKABLE.bits() | Attr::NOSYMFOLLOW.bits());

/// The options of one mount, sorted out.
#[derive(Clone, Default, Debug)]
pub struct MountOptions<'a> {
    /// A copy of the source, and how much of it.
    pub bind: Option<Reach>,
    /// Attributes of the mount.
    pub one: Change,
    /// Whether any attribute of the mount is named, be it to say that it is not asked for.
    pub names_attributes: bool,
    /// Attributes of the mount and all below.
    pub tree: Change,
    /// Flags of the superblock.
    pub superblock: Vec<&'static core::ffi::CStr>,
    /// How events spread, in order.
    pub spread: Vec<(Propagation, Reach)>,
    /// Whether an existing mount is changed.
    pub remount: bool,
    /// Other ids for the files, how far down, and the mappings if the option has any.
    pub ids: Option<(&'a str, Reach)>,
    /// Whether a symbolic link at the source is taken as it is.
    pub source_nofollow: bool,
    /// Whether a symbolic link at the destination is mounted on.
    pub target_nofollow: bool,
    /// Whether what is there is copied.
    pub copy_up: bool,
    /// Whether a symbolic link at the source is made again, instead of mounted.
    pub copy_symlink: bool,
    /// What goes to the file system as it is.
    pub data: Vec<&'a str>,
}

impl<'a> MountOptions<'a> {
    /// Those of a mount. That it is a bind may be said by its type as well.
    pub(crate) fn of(mount: &'a Mount<'_>) -> MountOptions<'a> {
        let mut parsed = MountOptions::parse(mount.options.iter().map(|option| option.as_str()));
        if mount.kind == "bind" {
            parsed.bind = parsed.bind.or(Some(Reach::One));
        }
        parsed
    }

    /// Sorts them out.
    pub fn parse(options: impl IntoIterator<Item = &'a str>) -> MountOptions<'a> {
        let mut parsed = MountOptions::default();
        for option in options {
            let Ok(row) = OPTIONS.binary_search_by_key(&option, |(name, _)| name) else {
                if let Some(maps) = option.strip_prefix("idmap=") {
                    parsed.ids = Some((maps, Reach::One));
                    continue;
                }
                if let Some(maps) = option.strip_prefix("ridmap=") {
                    parsed.ids = Some((maps, Reach::Tree));
                    continue;
                }
                parsed.data.extend(option.split(',').filter(|part| !part.is_empty()));
                continue;
            };
            let effect = OPTIONS[row].1;
            parsed.names_attributes |= matches!(effect, Set(_) | Clear(_) | Atime(_) | AtimeOff(_));
            match effect {
                Set(attr) => parsed.one.set(attr),
                Clear(attr) => parsed.one.clear(attr),
                Atime(policy) => parsed.one.atime(policy),
                AtimeOff(policy) => parsed.one.atime_off(policy),
                SetTree(attr) => parsed.tree.set(attr),
                ClearTree(attr) => parsed.tree.clear(attr),
                AtimeTree(policy) => parsed.tree.atime(policy),
                Superblock(flag) => parsed.superblock.push(flag),
                Bind(reach) => parsed.bind = Some(reach),
                Spread(propagation, reach) => parsed.spread.push((propagation, reach)),
                Remount => parsed.remount = true,
                Idmap(reach) => parsed.ids = Some(("", reach)),
                TargetNofollow => parsed.target_nofollow = true,
                CopyUp => parsed.copy_up = true,
                SourceNofollow => parsed.source_nofollow = true,
                Nothing => {}
                CopySymlink => parsed.copy_symlink = true,
            }
        }
        parsed
    }
}

impl MountOptions<'_> {
    /// What of the destination's path may be a symbolic link.
    pub(super) fn target_follow(&self) -> Follow {
        if self.target_nofollow { Follow::NotLast } else { Follow::Links }
    }

    /// What becomes of a copied mount, and what of it may not fail: as `mount --bind -o` has it, what is not asked for
    /// goes. With `remount` what is there stays. Access times stay as well, as in mount(2), where no policy is named.
    pub fn bind_change(&self) -> Option<(Change, Attr)> {
        if !self.names_attributes {
            return None;
        }
        let mut change = self.one;
        let asked = change.clear.and(LOCKABLE);
        let policy = change.clear.and(Attr::ATIME_MASK) | change.set.and(Attr::NODIRATIME);
        change.clear = change.clear.without(Attr::ATIME_MASK | Attr::NODIRATIME);
        if !policy.is_empty() {
            change.clear |= Attr::ATIME_MASK | Attr::NODIRATIME.without(change.set);
        }
        if !self.remount {
            change.clear |= BIND_FLAGS.without(change.set);
        }
        Some((change, asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(OPTIONS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn later_options_win() {
        let cases: &[(&[&str], Attr, Attr)] = &[
            (&["ro", "rw"], Attr::NONE, Attr::RDONLY),
            (&["rw", "ro"], Attr::RDONLY, Attr::NONE),
            (&["noatime", "strictatime"], Attr::STRICTATIME, Attr::ATIME_MASK),
            (&["strictatime", "relatime"], Attr::NONE, Attr::ATIME_MASK),
            (&["noatime", "atime"], Attr::NONE, Attr::NONE),
            (&["noatime", "norelatime"], Attr::NOATIME, Attr::ATIME_MASK),
            (&["nosuid", "nodev", "dev"], Attr::NOSUID, Attr::NODEV),
        ];
        for (options, set, clear) in cases {
            let parsed = MountOptions::parse(options.iter().copied());
            assert_eq!((parsed.one.set, parsed.one.clear), (*set, *clear), "{options:?}");
        }
    }

    #[test]
    fn unknown_options_are_data() {
        let parsed = MountOptions::parse(["size=64k,mode=755", "nosuid", "x"]);
        assert_eq!(parsed.data, ["size=64k", "mode=755", "x"]);
    }
}
