//! The state of a container, as hooks, listeners and callers see it.
//!
//! Follows the section "State" of the spec's runtime.md and the seccomp
//! listener's part of config-linux.md.

use alloc::vec::Vec;

use super::error::ParseError;
use super::object::{object, tokens};
use super::text::{Map, Str};

tokens! {
    /// Where a container is in its life.
    pub enum Status: "a container status" {
        /// Being created.
        Creating = "creating",
        /// Created; its program has not run.
        Created = "created",
        /// Its program runs.
        Running = "running",
        /// Frozen; runc's addition to the spec.
        Paused = "paused",
        /// Its program has ended.
        Stopped = "stopped",
    }
}

object! {
    /// The spec's state document: what hooks read on stdin.
    #[derive(Eq)]
    pub struct State<'a>: "a state object" {
        /// The version of the spec.
        oci_version: Str<'a> = required "ociVersion",
        /// The container's id.
        id: Str<'a> = required "id",
        /// Where the container is in its life.
        status: Status = required "status",
        /// The container's process as the runtime sees it; 0 when there is none.
        pid: i32 = optional "pid",
        /// The bundle's directory, absolute.
        bundle: Str<'a> = required "bundle",
        /// The configuration's annotations.
        annotations: Map<'a, Str<'a>> = optional "annotations",
    }
}

impl<'a> State<'a> {
    /// Reads a state document, named `state.json` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        super::parse("state.json", text)
    }
}

object! {
    /// What `state` prints and `list --format json` repeats: the spec's document
    /// with runc's additions.
    #[derive(Eq)]
    pub struct ContainerState<'a>: "a container state object" {
        /// The version of the spec.
        oci_version: Str<'a> = required "ociVersion",
        /// The container's id.
        id: Str<'a> = required "id",
        /// The container's process; 0 when it has stopped.
        pid: i32 = always "pid",
        /// Where the container is in its life.
        status: Status = required "status",
        /// The bundle's directory, absolute.
        bundle: Str<'a> = required "bundle",
        /// The root filesystem's directory, absolute.
        rootfs: Str<'a> = always "rootfs",
        /// When it was created, RFC 3339 with nanoseconds, UTC.
        created: Str<'a> = always "created",
        /// The configuration's annotations.
        annotations: Map<'a, Str<'a>> = optional "annotations",
        /// The owner of the state directory; runc leaves it empty in `state`.
        owner: Str<'a> = always "owner",
    }
}

impl<'a> ContainerState<'a> {
    /// Reads such a document, named `state.json` in errors.
    pub fn parse(text: &'a [u8]) -> Result<Self, ParseError> {
        super::parse("state.json", text)
    }
}

object! {
    /// What a seccomp listener receives together with the notify descriptor.
    #[derive(Eq)]
    pub struct ContainerProcessState<'a>: "a container process state object" {
        /// The version of the spec.
        oci_version: Str<'a> = required "ociVersion",
        /// Names of the descriptors that come along.
        fds: Vec<Str<'a>> = always "fds",
        /// The process as the runtime sees it.
        pid: i32 = required "pid",
        /// The profile's `listenerMetadata`.
        metadata: Str<'a> = optional "metadata",
        /// The container.
        state: State<'a> = required "state",
    }
}

/// The name of the notify descriptor in [`ContainerProcessState::fds`].
pub const SECCOMP_FD_NAME: &str = "seccompFd";
