//! The root filesystem and the mounts on top of it.
//!
//! Follows the sections "Root" and "Mounts" of the spec's config.md.

use alloc::vec::Vec;

use super::object::object;
use super::text::Str;

object! {
    /// The container's root filesystem.
    #[derive(Eq)]
    pub struct Root<'a>: "a root object" {
        /// A directory on the host, absolute or relative to the bundle.
        path: Str<'a> = required "path",
        /// Whether the container cannot write to it.
        readonly: bool = optional "readonly",
    }
}

object! {
    /// A mount in the container.
    #[derive(Eq)]
    pub struct Mount<'a>: "a mount object" {
        /// Where, in the container.
        destination: Str<'a> = required "destination",
        /// The filesystem type; may be empty or `none` for a bind mount.
        kind: Str<'a> = optional "type",
        /// A device, a directory or file of the host, or a dummy name.
        source: Str<'a> = optional "source",
        /// Options in the style of fstab(5).
        options: Vec<Str<'a>> = optional "options",
        /// User ids of an id-mapped mount, see mount_setattr(2).
        uid_mappings: Vec<IdMapping> = optional "uidMappings",
        /// Group ids of an id-mapped mount.
        gid_mappings: Vec<IdMapping> = optional "gidMappings",
    }
}

object! {
    /// A range of ids, a line of user_namespaces(7)'s maps.
    #[derive(Copy, Eq)]
    pub struct IdMapping: "an id mapping object" {
        /// The first id in the container.
        container_id: u32 = required "containerID",
        /// The first id on the host.
        host_id: u32 = required "hostID",
        /// How many ids.
        size: u32 = required "size",
    }
}
