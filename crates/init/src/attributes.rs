//! What the kernel keeps of a process besides its credentials: scheduling, memory policy, personality; and what is
//! written to procfs.

use orlop_sys::fs::OFlags;
use orlop_sys::mount::{self, Attr};
use orlop_sys::thread::{self, SchedAttr};
use orlop_sys::{Errno, STDERR, STDIN, STDOUT, fs};

use crate::context::{At, BROKEN, Context, Failure, Result};
use crate::step::{Call, List, Slot, Text};

/// A procfs of our own, mounted nowhere: whatever the container has at `/proc` is not in the way of what is written
/// there (CVE-2025-52881).
pub(crate) fn open_proc(ctx: &mut Context<'_>, out: Slot) -> Result<()> {
    let config = mount::fsopen(c"proc").at(Call::Fsopen)?;
    mount::fsconfig_create(&config).at(Call::FsconfigCreate)?;
    let proc = mount::fsmount(&config, Attr::NOSUID | Attr::NODEV | Attr::NOEXEC).at(Call::Fsmount)?;
    ctx.put(out, proc)
}

/// One write(2): the kernel takes a value whole, or not at all.
pub(crate) fn write_proc(ctx: &Context<'_>, proc: Slot, path: Text, value: Text) -> Result<()> {
    let file = fs::open_at(ctx.fd(proc)?, ctx.text(path)?, OFlags::WRONLY, 0).at(Call::Open)?;
    let value = ctx.text(value)?.to_bytes();
    match fs::write(&file, value).at(Call::Write)? {
        n if n == value.len() => Ok(()),
        _ => Err(Failure { call: Call::Write, errno: Errno::INVAL }),
    }
}

/// More processors than any kernel has: it takes those that there are, now or later, as the cpuset allows.
const PROCESSORS: usize = 8192;

pub(crate) fn affinity(ctx: &Context<'_>, processors: List<u32>) -> Result<()> {
    if processors.len > 0 {
        let mut mask = [0u64; PROCESSORS / 64];
        fill(&mut mask, ctx.blob.words(processors))?;
        return thread::set_affinity(0, &mask).at(Call::SchedSetaffinity);
    }
    match thread::set_affinity(0, &[u64::MAX; PROCESSORS / 64]) {
        // A filter that the runtime itself runs under may forbid it. Then the caller's processors it is.
        Ok(()) | Err(Errno::PERM | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(Failure { call: Call::SchedSetaffinity, errno }),
    }
}

pub(crate) fn scheduler(attr: &SchedAttr) -> Result<()> {
    thread::set_scheduler(attr).at(Call::SchedSetattr)
}

pub(crate) fn io_priority(priority: u32) -> Result<()> {
    thread::set_io_priority(priority).at(Call::IoprioSet)
}

pub(crate) fn personality(domain: u32) -> Result<()> {
    thread::set_personality(u64::from(domain)).at(Call::Personality)
}

/// How many nodes the kernel can be built for (`MAX_NUMNODES`).
const NODES: usize = 1024;

fn fill(mask: &mut [u64], words: &[u32]) -> Result<()> {
    for (index, &word) in words.iter().enumerate() {
        *mask.get_mut(index / 2).ok_or(BROKEN)? |= u64::from(word) << (32 * (index % 2));
    }
    Ok(())
}

pub(crate) fn memory_policy(ctx: &Context<'_>, mode: u32, nodes: List<u32>) -> Result<()> {
    let mut mask = [0u64; NODES / 64];
    fill(&mut mask, ctx.blob.words(nodes))?;
    let mask: &[u64] = if nodes.len == 0 { &[] } else { &mask };
    thread::set_memory_policy(mode, mask).at(Call::SetMempolicy)
}

/// So that the container's user can open /dev/stdout and its like anew. Only the user: a tty's group is of use.
pub(crate) fn stdio(uid: u32) -> Result<()> {
    const GROUP_AS_IS: u32 = u32::MAX;
    const NULL: (u32, u32) = (1, 3);
    for fd in [STDIN, STDOUT, STDERR] {
        let stat = match fs::stat(fd) {
            // Closed by the caller.
            Err(Errno::BADF) => continue,
            done => done.at(Call::Statx)?,
        };
        if stat.uid == uid || stat.rdev == NULL {
            continue;
        }
        match fs::chown_at(fd, c"", uid, GROUP_AS_IS, fs::AtFlags::EMPTY_PATH) {
            // An owner that the user namespace does not map, or a file system that is read-only: as runc, leave it.
            Ok(()) | Err(Errno::PERM | Errno::ROFS) => {}
            Err(errno) => return Err(Failure { call: Call::Fchownat, errno }),
        }
    }
    Ok(())
}
