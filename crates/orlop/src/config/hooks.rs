//! Commands that run at events of the container's life.
//!
//! Follows the section "POSIX-platform Hooks" of the spec's config.md.

use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::object::{IntoOwned, object};
use super::text::Str;

object! {
    /// The hooks, each list in the order of execution.
    #[derive(Default, Eq)]
    pub struct Hooks<'a>: "a hooks object" {
        /// Before the process starts, in the runtime's namespaces; deprecated.
        prestart: Vec<Hook<'a>> = optional "prestart",
        /// During create, in the runtime's namespaces.
        create_runtime: Vec<Hook<'a>> = optional "createRuntime",
        /// During create, in the container's namespaces, before the pivot.
        create_container: Vec<Hook<'a>> = optional "createContainer",
        /// During start, in the container.
        start_container: Vec<Hook<'a>> = optional "startContainer",
        /// After the process has started, in the runtime's namespaces.
        poststart: Vec<Hook<'a>> = optional "poststart",
        /// After the container was deleted, in the runtime's namespaces.
        poststop: Vec<Hook<'a>> = optional "poststop",
    }
}

object! {
    /// A command to run.
    #[derive(Eq)]
    pub struct Hook<'a>: "a hook object" {
        /// The program, absolute.
        path: Str<'a> = required "path",
        /// All arguments including the program's name; empty means only `path`.
        args: Vec<Str<'a>> = optional "args",
        /// The whole environment.
        env: Vec<Str<'a>> = optional "env",
        /// Seconds after which the hook is killed; the spec forbids zero.
        timeout: Option<NonZeroU32> = optional "timeout",
    }
}

impl IntoOwned for NonZeroU32 {
    type Owned = NonZeroU32;

    fn into_owned(self) -> NonZeroU32 {
        self
    }
}
