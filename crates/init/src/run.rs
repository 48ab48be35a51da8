//! Walking the plan.

use core::sync::atomic::Ordering;

use crate::context::{Context, Result};
use crate::hook::{self, Hook};
use crate::mount::{MountPoint, NewFs, OldMount};
use crate::plan::Status;
use crate::root::Node;
use crate::step::{Follow, Make, Step};
use crate::{attributes, console, copy, credentials, exec, mount, namespace, old, root};
use orlop_sys::mount::{Propagation, Reach};
use orlop_sys::thread::SchedAttr;
use orlop_sys::tty::WindowSize;

use crate::context::At;
use crate::step::Call;

/// Does every step of init in order, waiting for those of the runtime between them. Returns only from a plan
/// without an end: a good one ends in execve(2), a bad one in exit(2).
pub fn run(ctx: &mut Context<'_>, steps: &[Step]) {
    ctx.header.status.store(Status::Working as u32, Ordering::SeqCst);
    ctx.note_time(0);
    let mut runtime_owes = false;
    for (index, step) in steps.iter().enumerate() {
        let index = index as u32;
        if let Step::Runtime {} = step {
            runtime_owes = true;
            continue;
        }
        let awaited = match ctx.reached(index) {
            Ok(()) if runtime_owes => ctx.await_runtime(index),
            done => done,
        };
        runtime_owes = false;
        if let Err(failure) = awaited.and_then(|()| apply(ctx, step)) {
            ctx.fail(failure);
        }
        ctx.note_time(index as usize + 1);
    }
}

/// Does one step.
pub(crate) fn apply(ctx: &mut Context<'_>, step: &Step) -> Result<()> {
    match *step {
        Step::Runtime {} => Ok(()),
        Step::Unshare { namespaces } => namespace::unshare(ctx, namespaces),
        Step::OpenNamespace { path, namespace, out } => namespace::open(ctx, path, namespace, out),
        Step::ReceiveNamespace { out } => namespace::receive(ctx, out),
        Step::JoinNamespace { from, namespace } => namespace::join(ctx, from, namespace),
        Step::TimeNamespace { offsets } => namespace::time(ctx, offsets),
        Step::BecomeRoot {} => namespace::become_root(ctx),
        Step::Session {} => namespace::session(),
        Step::Loopback {} => namespace::loopback(ctx),
        Step::Keyring { name, permissions } => namespace::keyring(ctx, name, permissions),
        Step::Hostname { name } => namespace::hostname(ctx, name),
        Step::Domainname { name } => namespace::domainname(ctx, name),
        Step::RootPropagation { propagation, reach } => mount::root_propagation(propagation, reach),
        Step::BindRoot { path, reach, out } => mount::bind_root(ctx, path, reach, Propagation::NONE, out),
        Step::BindRootOutside { path, out } => mount::bind_root(ctx, path, Reach::Tree, Propagation::PRIVATE, out),
        Step::PrivateParent { path, propagation } => mount::private_parent(ctx, path, propagation),
        Step::MakeFs { fstype, params, attr, mode_of, target, host, out } => {
            mount::make_fs(ctx, &NewFs { fstype, params, attr, mode_of, target, host }, out)
        }
        Step::CloneTree { path, reach, follow, or, out } => {
            mount::clone_tree(ctx, &mount::Source { path, reach, follow, or }, out)
        }
        Step::CopyUp { from, to } => copy::copy_up(ctx, from, to),
        Step::Mount { fstype, source, data, flags, root, path, target, out } => {
            mount::old_mount(ctx, &OldMount { fstype, source, data, flags, root, path, target }, out)
        }
        Step::Receive { from, out } => mount::receive(ctx, from, out),
        Step::BindAttr { mount, set, clear, asked } => mount::bind_attr(ctx, mount, set, clear, asked),
        Step::SetAttr { mount, set, clear, reach } => mount::set_attr(ctx, mount, set, clear, reach),
        Step::SetPropagation { mount, propagation, reach } => mount::set_propagation(ctx, mount, propagation, reach),
        Step::Target { root, path, make, like, over_proc, follow, out } => {
            mount::target(ctx, &MountPoint { root, path, make, like, over_proc, follow }, out)
        }
        Step::Attach { mount, target } => mount::attach(ctx, mount, target),
        Step::AttachOrLink { mount, root, path, over_proc, out } => {
            let point =
                MountPoint { root, path, make: Make::LikeSource, like: mount, over_proc, follow: Follow::Links };
            mount::attach_or_link(ctx, &point, out)
        }
        Step::File { root, path, out } => root::file(ctx, root, path, out),
        Step::Console { socket, rows, columns, uid, newlines, out } => {
            let size = WindowSize { rows: rows as u16, columns: columns as u16, ..WindowSize::default() };
            console::console(ctx, socket, &console::Console { size, uid, newlines }, out)
        }
        Step::BindFile { from, target } => console::bind(ctx, from, target),
        Step::Close { slot } => ctx.take(slot).map(drop),
        Step::KeepOpen { slot } => ctx.keep_open(slot),
        Step::Directory { root, path, mode } => root::directory(ctx, root, path, mode),
        Step::Device { root, path, kind, mode, major, minor, uid, gid, node: by } => {
            let node = Node { kind, mode, number: (major, minor), owner: (uid, gid), by };
            root::device(ctx, root, path, &node)
        }
        Step::Symlink { root, path, target } => root::symlink(ctx, root, path, target),
        Step::OpenNull { out } => mount::open_null(ctx, out),
        Step::Mask { root, path, null } => mount::mask(ctx, root, path, null),
        Step::ReadOnlyPath { root, path } => mount::readonly_path(ctx, root, path),
        Step::Pivot { root, old } => mount::pivot(ctx, root, old),
        Step::MoveRoot { root } => mount::move_root(ctx, root),
        Step::DetachAllBut { root } => old::detach_all_but(ctx, root),
        Step::OpenRoot { out } => mount::open_root(ctx, out),
        Step::Unmount { root, path, over_proc } => mount::unmount(ctx, root, path, over_proc),
        Step::Chroot { root } => mount::chroot(ctx, root),
        Step::Chdir { path, attempt } => exec::chdir(ctx, path, attempt),
        Step::Limit { resource, soft, hard } => credentials::limit(resource, soft, hard),
        Step::NoNewPrivileges {} => orlop_sys::credentials::no_new_privileges().at(Call::NoNewPrivileges),
        Step::Seccomp { program, flags, listener } => credentials::seccomp(ctx, program, flags, listener),
        Step::Bounding { keep } => credentials::bounding(ctx, keep),
        Step::User { uid, gid, groups, set_groups } => credentials::user(ctx, uid, gid, groups, set_groups),
        Step::Capabilities { effective, permitted, inheritable } => {
            credentials::capabilities(effective, permitted, inheritable)
        }
        Step::Ambient { set } => credentials::ambient(ctx, set),
        Step::Umask { mask } => {
            credentials::umask(mask);
            Ok(())
        }
        Step::Home { uid } => exec::home(ctx, uid),
        Step::FindProgram {} => exec::find_program(ctx),
        Step::Descriptors { first } => exec::close_left(ctx, first),
        Step::CloseOnExec { first } => exec::close_on_exec(ctx, first),
        Step::Signals {} => credentials::signals(ctx),
        Step::Detach {} => exec::detach(),
        Step::AwaitStart { listener, first } => exec::await_start(ctx, listener, first),
        Step::OpenProc { out } => attributes::open_proc(ctx, out),
        Step::WriteProc { proc, path, value } => attributes::write_proc(ctx, proc, path, value),
        Step::Affinity { processors } => attributes::affinity(ctx, processors),
        Step::Scheduler { policy, flags, nice, priority, runtime, deadline, period } => {
            let size = size_of::<SchedAttr>() as u32;
            let flags = u64::from(flags);
            attributes::scheduler(&SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period })
        }
        Step::IoPriority { priority } => attributes::io_priority(priority),
        Step::Personality { domain } => attributes::personality(domain),
        Step::MemoryPolicy { mode, nodes } => attributes::memory_policy(ctx, mode, nodes),
        Step::Stdio { uid } => attributes::stdio(uid),
        Step::Hook { index, path, args, env, environment, place, root, out, err, timeout, state } => {
            hook::run(ctx, &Hook { index, path, args, env, environment, place, root, out, err, timeout, state })
        }
        Step::Exec {} => exec::exec(ctx),
        Step::End {} => exec::end(ctx),
    }
}
