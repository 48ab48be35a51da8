//! Init's program, as a file that nobody can write to.

use core::ffi::CStr;

use orlop_sys::fs::{self, MemfdFlags, Seals};
use orlop_sys::mount::{self, Attr, MountAttr, Reach};
use orlop_sys::{Errno, OwnedFd};

/// memfd_create(2) of kernels before 6.3 knows neither `MFD_EXEC` nor `MFD_NOEXEC_SEAL`.
pub(super) fn memfd(name: &CStr, flags: MemfdFlags) -> orlop_sys::Result<OwnedFd> {
    match fs::memfd(name, flags) {
        Err(Errno::INVAL) => fs::memfd(name, MemfdFlags::from_bits(flags.bits() & MemfdFlags::ALLOW_SEALING.bits())),
        done => done,
    }
}

/// The init program as a file that nobody can write to: CVE-2019-5736 needs a writable one.
pub(crate) fn sealed_program() -> orlop_sys::Result<OwnedFd> {
    let file = memfd(c"orlop:[init]", MemfdFlags::EXEC | MemfdFlags::ALLOW_SEALING)?;
    fs::write_all(&file, orlop_init::PROGRAM)?;
    fs::seal(&file, Seals::SEAL | Seals::SHRINK | Seals::GROW | Seals::WRITE)?;
    Ok(file)
}

/// Where a memfd may not be executed (`vm.memfd_noexec=2`, a security module): the program on a tmpfs that is
/// mounted nowhere and then made read-only.
pub(super) fn detached_program() -> orlop_sys::Result<OwnedFd> {
    let config = mount::fsopen(c"tmpfs")?;
    mount::fsconfig_create(&config)?;
    let tmpfs = mount::fsmount(&config, Attr::NOSUID | Attr::NODEV)?;
    let name = c"orlop:[init]";
    let file = fs::open_at(&tmpfs, name, fs::OFlags::WRONLY | fs::OFlags::CREAT, 0o500)?;
    fs::write_all(&file, orlop_init::PROGRAM)?;
    drop(file);
    let attr = MountAttr { set: Attr::RDONLY, ..MountAttr::default() };
    mount::set_attr(&tmpfs, c"", Reach::One, &attr)?;
    fs::open_at(&tmpfs, name, fs::OFlags::RDONLY, 0)
}
