//! Containers: the public interface.

use alloc::ffi::CString;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_cgroup::systemd::{Bus, Client};
use orlop_sys::fd::Bin;
use orlop_sys::{OwnedFd, fs};

use crate::bundle::Bundle;
use crate::cgroup::from_cgroup;
use crate::config::{Config, ContainerState, NamespaceKind, Status};
use crate::container::{Container, Force, describe, paused_or};
use crate::create::{self, CreateOptions, Created};
use crate::error::{Kind, Result};
use crate::hook::Subject;
use crate::host::Host;
use crate::lint;
use crate::plan::{self, Gate, Options, Plan, Warning};
use crate::running::Running;
use crate::state::{self, StateDir};
use crate::trace::{Trace, Tracing};

/// A runtime: the directory that its containers' state is kept in.
///
/// It has no other state, and does not change the process that uses it: no working directory, mask, environment,
/// signal disposition or namespace. It can be used from any thread, and from many at once.
#[derive(Clone, Debug)]
pub struct Runtime {
    root: CString,
    trace: Option<Arc<Trace>>,
}

impl Runtime {
    /// A runtime that keeps its state in `root`, which is made when the first container is.
    pub fn new(root: &CStr) -> Runtime {
        Runtime { root: root.into(), trace: None }
    }

    /// Makes that directory now, with its parents, closed to others.
    pub fn make_root(&self) -> Result<()> {
        state::make_root(&self.root)
    }

    /// The same, which writes where the time of its calls goes.
    #[must_use]
    pub fn traced(self, trace: Arc<Trace>) -> Runtime {
        Runtime { trace: Some(trace), ..self }
    }

    pub(crate) fn tracing<'a>(&'a self, id: &'a str) -> Tracing<'a> {
        Tracing { trace: self.trace.as_deref(), container: id }
    }

    /// What creating a container would do, without doing any of it. [`Kind::InvalidConfig`] and [`Kind::NotSupported`]
    /// name the field that they are about.
    pub fn plan(&self, id: &str, bundle: &Bundle, options: &CreateOptions, gate: Gate) -> Result<Plan> {
        let config = bundle.config()?;
        let host = Host::probe()?;
        plan_for(id, bundle, &config, &host, options, gate)
    }

    /// Looks a bundle's configuration over, without making anything of it: every error that creating a container
    /// would end with at the first, on this host, and what is worth a warning.
    pub fn lint(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<Vec<lint::Finding>> {
        let host = Host::probe()?;
        let systemd_cgroup = systemd_cgroup(options)?;
        let mut review = match lint::Review::read(bundle.text()) {
            Ok(review) => review,
            Err(finding) => return Ok(alloc::vec![finding]),
        };
        review.plan(
            &host,
            |config| planned(id, bundle, config, options, Gate::Start, &systemd_cgroup),
            |config, options, cgroup| lint::host_findings(config, &host, options, cgroup),
        );
        Ok(review.finish())
    }

    /// Makes a container that waits for [`Container::start`].
    ///
    /// [`Kind::InvalidId`], [`Kind::InvalidConfig`] and [`Kind::NotSupported`] come before anything is made,
    /// [`Kind::AlreadyExists`] where the id is taken; after an error of another kind all was taken back, or the error
    /// says what was not.
    pub fn create(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<(Container, Vec<Warning>)> {
        let created = self.make(id, bundle, options, Gate::Start).map_err(|error| error.during("create", id))?;
        let Created { plan, state, .. } = created;
        let container = Container::of(id, state, self.trace.clone());
        Ok((container, plan.warnings))
    }

    /// Makes a container and runs its program at once. The returned value watches over it, and tells where the program
    /// could not be executed. Errors are as of [`Runtime::create`].
    pub fn run(&self, id: &str, bundle: &Bundle, options: &CreateOptions) -> Result<Running> {
        let created = self.make(id, bundle, options, Gate::Open).map_err(|error| error.during("run", id))?;
        let Created { launch, plan, group, state, console } = created;
        let container = Container::of(id, state, self.trace.clone());
        let running = Running { container, launch, plan, group, console, ended: None };
        if running.plan.has_poststart { running.poststart() } else { Ok(running) }
    }

    fn make(&self, id: &str, bundle: &Bundle, options: &CreateOptions, gate: Gate) -> Result<Created> {
        state::check_id(id)?;
        let tracing = self.tracing(id);
        let config = tracing.time("parse", || bundle.config())?;
        let host = tracing.time("probe", Host::probe)?;
        let plan = tracing.time("plan", || plan_for(id, bundle, &config, &host, options, gate))?;
        create::create(
            &self.root,
            tracing,
            bundle,
            plan,
            gate,
            options,
            &Subject { id, bundle: bundle.path(), config: &config },
        )
    }

    pub(crate) fn root(&self) -> &CStr {
        &self.root
    }

    /// Finds a container; [`Kind::NotFound`] where there is none.
    pub fn container(&self, id: &str) -> Result<Container> {
        self.find(id).map_err(|error| error.during("find", id))
    }

    fn find(&self, id: &str) -> Result<Container> {
        let dir = StateDir::open(&self.root, id)?;
        Ok(Container::of(id, dir, self.trace.clone()))
    }

    /// Deletes a container, and with `Force::Yes` also one that runs, one whose making was interrupted, or none.
    /// Hooks that fail afterwards are warnings. [`Kind::NotFound`] and [`Kind::WrongState`] come with `Force::No` alone.
    pub fn delete(&self, id: &str, force: Force) -> Result<Vec<Warning>> {
        match self.find(id) {
            Ok(container) => container.delete(force),
            Err(error) if error.kind() == Kind::NotFound && force == Force::Yes => Ok(Vec::new()),
            Err(error) => Err(error.during("delete", id)),
        }
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        Ok(state::ids(&self.root)?.map_or_else(Vec::new, |(_, ids)| ids))
    }

    /// The state of every container, by id. One that cannot be read is an error in its place.
    pub fn list(&self) -> Result<Vec<(String, Result<Listed>)>> {
        let Some((root, ids)) = state::ids(&self.root)? else {
            return Ok(Vec::new());
        };
        let mut bin = Bin::default();
        let each = ids.into_iter().filter_map(|id| match self.listed(&root, &id, &mut bin) {
            // Deleted while we looked.
            Err(error) if error.kind() == Kind::NotFound => None,
            listed => Some((id, listed)),
        });
        Ok(each.collect())
    }

    fn listed(&self, root: &OwnedFd, id: &str, bin: &mut Bin) -> Result<Listed> {
        let Some(glance) = state::glance(root, id, bin) else {
            let container = self.container(id)?;
            return Ok(Listed { state: container.listed()?, owner: container.owner()? });
        };
        let status = match &glance.cgroups {
            None => Status::Created,
            Some(cgroups) => paused_or(Status::Running, cgroups).map_err(|error| error.during("list", id))?,
        };
        Ok(Listed { state: describe(id, glance.pid, status, glance.told), owner: glance.owner })
    }
}

fn plan_for(
    id: &str,
    bundle: &Bundle,
    config: &Config<'_>,
    host: &Host,
    options: &CreateOptions,
    gate: Gate,
) -> Result<Plan> {
    with_options(id, bundle, config, options, gate, |options| plan::plan(config, host, options))
}

/// Plans with what the planner is told of the caller's choices.
pub(crate) fn with_options(
    id: &str,
    bundle: &Bundle,
    config: &Config<'_>,
    options: &CreateOptions,
    gate: Gate,
    plan: impl FnOnce(&Options<'_>) -> Result<Plan>,
) -> Result<Plan> {
    let systemd_cgroup = systemd_cgroup(options)?;
    plan(&planned(id, bundle, config, options, gate, &systemd_cgroup))
}

/// What a plan has to know of the caller's choices.
fn planned<'a>(
    id: &'a str,
    bundle: &'a Bundle,
    config: &Config<'_>,
    options: &CreateOptions,
    gate: Gate,
    systemd_cgroup: &'a str,
) -> Options<'a> {
    Options {
        id,
        bundle: bundle.path(),
        gate,
        root_change: options.root_change,
        keyring: options.keyring,
        cgroup_manager: options.cgroup_manager,
        systemd: options.systemd.clone(),
        systemd_cgroup,
        preserve_fds: options.preserve_fds,
        listen_fds: options.listen_fds,
        console: options.console.planned(config.process.as_ref().is_some_and(|process| process.terminal)),
        joins_own_network: joins_own_network(config),
        orphans: options.orphans,
    }
}

/// Where a user's systemd is, only it can tell; the system's has the root.
fn systemd_cgroup(options: &CreateOptions) -> Result<String> {
    if options.cgroup_manager != orlop_cgroup::Manager::Systemd || options.systemd == Bus::System {
        return Ok(String::new());
    }
    Client::connect(&options.systemd).and_then(|mut client| client.cgroup()).map_err(from_cgroup)
}

/// A container as [`Runtime::list`] finds it.
#[derive(Debug)]
pub struct Listed {
    /// Its state; the owner's name is left open.
    pub state: ContainerState<'static>,
    /// The user id of whoever made it.
    pub owner: u32,
}

/// Whether a sysctl of the container's network would be one of the caller's: looked up only where one is set.
fn joins_own_network(config: &Config<'_>) -> bool {
    let network = config.linux.namespaces.iter().find(|namespace| namespace.kind == NamespaceKind::Network);
    let Some(path) = network.map(|namespace| &*namespace.path).filter(|path| !path.is_empty()) else {
        return false;
    };
    let id = |path: &CStr| fs::stat_at(orlop_sys::CWD, path, fs::AtFlags::NONE).ok().map(|stat| (stat.dev, stat.ino));
    // A namespace that cannot be found cannot be joined either.
    !config.linux.sysctl.is_empty()
        && state::c_string(path)
            .is_ok_and(|path| id(&path).is_some_and(|theirs| Some(theirs) == id(c"/proc/self/ns/net")))
}
