//! Changing the mounts of a container that runs.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use orlop_init::step::{Follow, Step};
use orlop_sys::fd::Bin;
use orlop_sys::fs::{self, AtFlags, OFlags};
use orlop_sys::net::{self, SocketType};
use orlop_sys::process::Clone as CloneFlags;
use orlop_sys::{CWD, Errno, OwnedFd};

use crate::config::{Config, Mount, Status};
use crate::container::Container;
use crate::error::{Error, Kind, Result};
use crate::exec::{await_root, shares_user_namespace};
use crate::host::Host;
use crate::idmap;
use crate::launch::{Birth, Launch, Thread};
use crate::plan::exec::Target;
use crate::plan::live::{self, Live};
use crate::plan::{Act, Ids, Options, Plan, Task, slot};
use crate::state::{CgroupDir, Init, Record, c_string};

/// What the mounts are in, for messages.
const DOCUMENT: &str = "mounts.json";

/// The container, as far as its mounts can be changed.
struct Entered<'a> {
    record: &'a Record,
    config: &'a Config<'a>,
    init: Init,
    pidfd: OwnedFd,
    target: Target<'a>,
}

impl Container {
    /// Adds mounts, in order; relative sources start from the bundle. Where one fails, those before it are taken away
    /// again.
    pub fn add_mounts(&self, mounts: &[Mount<'_>]) -> Result<()> {
        self.changed("mounts add", || {
            self.entered(|entered| {
                let plan = entered.plan(|live| live::add(live, mounts))?;
                entered.carry_out(&plan, live::needs_pid_namespace(entered.config, mounts)).map_err(
                    |(error, attached)| match entered.remove(&attached) {
                        Ok(()) => error,
                        Err(second) => error.hint(alloc::format!("and this could not be undone: {second}")),
                    },
                )
            })
        })
    }

    /// Takes away what is mounted at the destinations, the last one first.
    pub fn remove_mounts(&self, mounts: &[Mount<'_>]) -> Result<()> {
        self.changed("mounts remove", || {
            let destinations: Vec<&str> = mounts.iter().map(|mount| &*mount.destination).collect();
            self.entered(|entered| entered.remove(&destinations))
        })
    }

    fn entered(&self, work: impl FnOnce(&Entered<'_>) -> Result<()>) -> Result<()> {
        let (status, init) = self.status()?;
        let init = init.filter(|_| matches!(status, Status::Created | Status::Running));
        let not_running = || Error::new(Kind::NotRunning, "container not running");
        let init = init.ok_or_else(not_running)?;
        let pidfd = init.open()?.ok_or_else(not_running)?;
        if !await_root(self.dir(), init.pid, &pidfd)? {
            return Err(not_running());
        }
        let (record, text) = self.dir().read_record()?.ok_or_else(not_running)?;
        let config = Config::parse(&text)?;
        let target = Target {
            cgroups: record.cgroups.iter().map(CgroupDir::to_dir).collect(),
            sub_cgroups: &[],
            is_attached: false,
            own_user_namespace: shares_user_namespace(&config, init.pid)?,
            is_unprivileged: orlop_sys::credentials::euid() != 0,
        };
        work(&Entered { record: &record, config: &config, init, pidfd, target })
    }
}

impl Entered<'_> {
    fn plan(&self, make: impl FnOnce(&Live<'_>) -> Result<Plan>) -> Result<Plan> {
        let host = Host::probe()?;
        let options = Options { bundle: &self.record.told.bundle, ..Options::default() };
        let rootfs = &self.record.told.rootfs;
        let live = Live { config: self.config, host: &host, options: &options, target: &self.target, rootfs };
        make(&live).map_err(|error| error.of(DOCUMENT))
    }

    fn remove(&self, destinations: &[impl AsRef<str>]) -> Result<()> {
        if destinations.is_empty() {
            return Ok(());
        }
        let destinations: Vec<&str> = destinations.iter().map(AsRef::as_ref).collect();
        let plan = self.plan(|live| live::remove(live, &destinations))?;
        self.carry_out(&plan, false).map_err(|(error, _)| error)
    }

    /// Does it all; a failure comes with the places where something was attached before.
    fn carry_out(&self, plan: &Plan, in_pid_namespace: bool) -> core::result::Result<(), (Error, Vec<String>)> {
        let none = |error: Error| (error, Vec::new());
        // Before there is an init: what cannot be copied stops nothing half done.
        let trees = self.copy_all(plan).map_err(none)?;
        let pair = net::socket_pair(SocketType::Stream);
        let (ours, inits) = pair.map_err(|errno| none(Error::system("socketpair", "a socket for mounts", errno)))?;
        let init = self.pidfd.borrow();
        let mut join = Vec::new();
        if in_pid_namespace {
            join.push((init, CloneFlags::NEWPID));
            join.extend(self.target.is_joined_at_birth(self.config).then_some((init, CloneFlags::NEWUSER)));
        }
        let birth = Birth {
            join: &join,
            cgroup: None,
            slots: Vec::from([(slot::INIT, init), (slot::MOUNTS, inits.borrow())]),
            preserve_fds: 0,
            // A thread that has joined it gets back with rights alone.
            pid_namespace: None,
            thread: Thread::Returns,
            timed: false,
            ignored: None,
        };
        let launch = Launch::start(plan, &birth, &mut Bin::default()).map_err(none)?;
        drop(inits);
        let done = send_all(&ours, &trees)
            .and_then(|()| launch.complete(plan.entries.len() as u32))
            .and_then(|()| launch.await_program(plan));
        let reached = launch.reached();
        launch.kill();
        done.map_err(|error| (error.of(DOCUMENT), attached(plan, reached)))
    }

    fn copy_all(&self, plan: &Plan) -> Result<Vec<OwnedFd>> {
        let mut trees = Vec::new();
        for entry in &plan.entries {
            if let Act::Runtime(Task::SendMount { path, reach, follow, ids, ids_reach }) = entry.act {
                let namespace = match ids {
                    Ids::Same => None,
                    Ids::Container => Some(idmap::namespace_of(self.init.pid)?),
                    Ids::Maps { uids, gids } => Some(idmap::namespace_with(&plan.string(uids), &plan.string(gids))?),
                };
                let copy = idmap::Copy {
                    path: &c_string(&plan.string(path))?,
                    reach,
                    flags: if follow == Follow::Nothing { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::NONE },
                    ids: namespace.as_ref().map(|fd| (fd.borrow(), ids_reach)),
                };
                let tree = copy.here().map_err(|error| entry.blame(error).of(DOCUMENT))?;
                trees.push(tree);
            }
        }
        Ok(trees)
    }
}

fn send_all(socket: &OwnedFd, trees: &[OwnedFd]) -> Result<()> {
    for tree in trees {
        match net::send(socket, &[1], &[tree.borrow()]) {
            Ok(_) => {}
            // Init is gone, and has left word why.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            Err(errno) => return Err(Error::system("sendmsg", "sending a mount to init", errno)),
        }
    }
    Ok(())
}

/// Reads the file of an array of mounts.
pub fn read_mounts(path: &CStr) -> Result<Vec<u8>> {
    let failed = |call| {
        let path = path.to_string_lossy().into_owned();
        move |errno| Error::system(call, alloc::format!("the mounts in {path}"), errno)
    };
    let file = fs::open_at(CWD, path, OFlags::RDONLY, 0).map_err(failed("openat"))?;
    crate::state::read_to_end(&file).map_err(failed("read"))
}

/// Where something was attached before the entry at `reached`.
fn attached(plan: &Plan, reached: u32) -> Vec<String> {
    let mut places = Vec::new();
    let mut target = None;
    for entry in plan.entries.iter().take(reached as usize) {
        match entry.act {
            Act::Init(Step::Target { path, .. }) => target = Some(path),
            Act::Init(Step::Attach { .. }) => places.extend(target.take().map(|path| plan.string(path).into_owned())),
            _ => {}
        }
    }
    places
}
