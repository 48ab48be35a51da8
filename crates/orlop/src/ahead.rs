//! A network namespace that is made while the rest of the container is.
//!
//! Making one takes the kernel 0.4 ms, a quarter of a start. A child of ours that shares our memory and descriptors
//! makes it and opens it; init joins it when it needs it. The caller's thread stays where it is.

#![allow(unsafe_code)] // a child on our own memory: see each reason

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, Ordering};

use orlop_sys::fs::{self, OFlags};
use orlop_sys::process::{self, Child, Clone};
use orlop_sys::{BorrowedFd, CWD, Errno, OwnedFd, net, thread};

/// A network namespace in the making.
pub(crate) struct NetworkAhead {
    child: Child,
    /// What the child writes: the descriptor, or the negative error number.
    made: Box<AtomicI32>,
    /// What the child runs on.
    _stack: Vec<MaybeUninit<u8>>,
    waited: bool,
}

impl NetworkAhead {
    /// Begins.
    pub(crate) fn begin() -> orlop_sys::Result<NetworkAhead> {
        let mut stack = Vec::with_capacity(4096);
        stack.resize(4096, MaybeUninit::uninit());
        let made = Box::new(AtomicI32::new(-Errno::INTR.0));
        let data = (&raw const *made).cast_mut().cast::<u8>();
        // SAFETY: `make` makes system calls only; the stack and `made` live until the child has ended, for which
        // `finish` and `drop` wait.
        let child = unsafe { process::beside(&mut stack, make, data) }?;
        Ok(NetworkAhead { child, made, _stack: stack, waited: false })
    }

    /// Waits for it.
    pub(crate) fn finish(mut self) -> orlop_sys::Result<OwnedFd> {
        self.wait()?;
        self.take()
    }

    fn wait(&mut self) -> orlop_sys::Result<()> {
        if !self.waited {
            process::wait_beside(&self.child)?;
            self.waited = true;
        }
        Ok(())
    }

    fn take(&self) -> orlop_sys::Result<OwnedFd> {
        match self.made.swap(-Errno::INTR.0, Ordering::Acquire) {
            // SAFETY: the child has opened it for us, in the table that we share.
            fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw(fd) }),
            errno => Err(Errno(-errno)),
        }
    }
}

impl Drop for NetworkAhead {
    fn drop(&mut self) {
        // It ends by itself in less than a millisecond, and until then it uses our stack: there is no way but to wait.
        if self.wait().is_ok() {
            drop(self.take());
        }
    }
}

extern "C" fn make(data: *mut u8) -> ! {
    // SAFETY: `begin` passes its `made`, which lives until we have ended.
    let made: &AtomicI32 = unsafe { &*data.cast::<AtomicI32>() };
    let fd = thread::unshare(Clone::NEWNET)
        .and_then(|()| fs::open_at(CWD, c"/proc/thread-self/ns/net", OFlags::RDONLY, 0))
        .map(OwnedFd::into_raw);
    made.store(fd.unwrap_or_else(|errno| -errno.0), Ordering::Release);
    process::exit(0)
}

/// A netlink socket of another network namespace: it belongs to the namespace that its maker was in.
pub(crate) fn route_socket_in(namespace: BorrowedFd<'_>) -> orlop_sys::Result<OwnedFd> {
    let mut stack = Vec::with_capacity(4096);
    stack.resize(4096, MaybeUninit::uninit());
    let work = Box::new(Inside { namespace: namespace.as_raw(), made: AtomicI32::new(-Errno::INTR.0) });
    // SAFETY: `socket` makes system calls only; the stack and `work` live until the child has ended, which is waited
    // for right here.
    let child = unsafe { process::beside(&mut stack, socket, (&raw const *work).cast_mut().cast::<u8>()) }?;
    process::wait_beside(&child)?;
    match work.made.load(Ordering::Acquire) {
        // SAFETY: the child has opened it for us, in the table that we share.
        fd if fd >= 0 => Ok(unsafe { OwnedFd::from_raw(fd) }),
        errno => Err(Errno(-errno)),
    }
}

struct Inside {
    namespace: i32,
    made: AtomicI32,
}

extern "C" fn socket(data: *mut u8) -> ! {
    // SAFETY: `route_socket_in` passes its `work`, which lives until we have ended, with a descriptor that does.
    let (work, namespace) = unsafe {
        let work: &Inside = &*data.cast::<Inside>();
        (work, BorrowedFd::from_raw(work.namespace))
    };
    let fd = thread::setns(namespace, Clone::NEWNET).and_then(|()| net::route_socket()).map(OwnedFd::into_raw);
    work.made.store(fd.unwrap_or_else(|errno| -errno.0), Ordering::Release);
    process::exit(0)
}
