//! `checkpoint` and `restore`.

use core::ffi::CStr;

use liballoc::borrow::ToOwned;
use liballoc::string::{String, ToString};

use orlop::criu::{Criu, ManageCgroups, NetworkLock};

use crate::parse::Given;

/// What `checkpoint` and `restore` share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CriuOptions {
    /// All of criu's but its program.
    pub how: orlop::criu::CriuOptions,
    /// Whether the network namespace is made, but not restored.
    pub empty_network: bool,
}

/// Where the images are unless somebody says otherwise, as runc has it.
const IMAGES: &CStr = c"checkpoint";

/// A page server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageServer<'a> {
    /// Its address, without brackets.
    pub address: &'a str,
    /// Its port.
    pub port: u16,
}

/// `checkpoint`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint<'a> {
    /// The container's id as given.
    pub id: &'a str,
    /// What `restore` has too.
    pub criu: CriuOptions,
    /// The images of an earlier pre-dump.
    pub parent_path: Option<&'a CStr>,
    /// Let the container run on.
    pub leave_running: bool,
    /// Leave out TCP connections that are being set up.
    pub tcp_skip_in_flight: bool,
    /// Link unlinked files back.
    pub link_remap: bool,
    /// The descriptor that criu writes to when the page server is ready.
    pub status_fd: Option<i32>,
    /// Where memory pages are sent.
    pub page_server: Option<PageServer<'a>>,
    /// Memory only.
    pub pre_dump: bool,
}

/// `restore`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restore<'a> {
    /// The container's id as given.
    pub id: &'a str,
    /// What `checkpoint` has too.
    pub criu: CriuOptions,
    /// The bundle; the working directory by default.
    pub bundle: Option<&'a CStr>,
    /// Where the terminal's master is sent.
    pub console_socket: Option<&'a CStr>,
    /// Where the process id is written.
    pub pid_file: Option<&'a CStr>,
    /// Whether it is left alone once it runs.
    pub detach: bool,
    /// Whether its orphans are not adopted.
    pub no_subreaper: bool,
    /// Whether the root is moved over / instead of pivoted.
    pub no_pivot: bool,
    /// Restore TCP connections as closed.
    pub tcp_close: bool,
    /// The security profile.
    pub lsm_profile: Option<&'a str>,
    /// The SELinux mount context.
    pub lsm_mount_context: Option<&'a str>,
}

fn criu(given: &Given<'_>) -> Result<CriuOptions, String> {
    let how = orlop::criu::CriuOptions {
        criu: Criu::default(),
        images: given.raw("image-path").unwrap_or(IMAGES).to_owned(),
        work: given.raw("work-path").map(ToOwned::to_owned),
        tcp_established: given.flag("tcp-established")?,
        ext_unix_sk: given.flag("ext-unix-sk")?,
        shell_job: given.flag("shell-job")?,
        file_locks: given.flag("file-locks")?,
        lazy_pages: given.flag("lazy-pages")?,
        auto_dedup: given.flag("auto-dedup")?,
        manage_cgroups: given
            .choice(
                "manage-cgroups-mode",
                &[
                    ("soft", ManageCgroups::Soft),
                    ("full", ManageCgroups::Full),
                    ("strict", ManageCgroups::Strict),
                    ("ignore", ManageCgroups::Ignore),
                ],
            )?
            .unwrap_or_default(),
        network_lock: given.choice(
            "network-lock",
            &[("iptables", NetworkLock::Iptables), ("nftables", NetworkLock::Nftables), ("skip", NetworkLock::Skip)],
        )?,
    };
    let empty = given.each("empty-ns", |name| match name {
        "network" => Ok(()),
        _ => Err("namespace is not supported"),
    })?;
    Ok(CriuOptions { how, empty_network: !empty.is_empty() })
}

/// `ADDRESS:PORT`, the address in brackets if it holds colons.
fn page_server(text: &str) -> Option<PageServer<'_>> {
    let (address, port) = text.rsplit_once(':')?;
    let bare = match address.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if address.contains(':') => return None,
        None => address,
    };
    Some(PageServer { address: bare, port: port.parse().ok().filter(|port| *port != 0)? })
        .filter(|server| !server.address.is_empty())
}

pub(super) fn checkpoint<'a>(given: &Given<'a>) -> Result<Checkpoint<'a>, String> {
    let server = match given.text("page-server")? {
        None => None,
        Some(text) => match page_server(text) {
            None => return Err("Use --page-server ADDRESS:PORT to specify page server".to_string()),
            server => server,
        },
    };
    Ok(Checkpoint {
        id: super::id(given)?,
        criu: criu(given)?,
        parent_path: given.raw("parent-path"),
        leave_running: given.flag("leave-running")?,
        tcp_skip_in_flight: given.flag("tcp-skip-in-flight")?,
        link_remap: given.flag("link-remap")?,
        status_fd: given.number("status-fd")?.filter(|fd| *fd >= 0).map(|fd| fd as i32),
        page_server: server,
        pre_dump: given.flag("pre-dump")?,
    })
}

pub(super) fn restore<'a>(given: &Given<'a>) -> Result<Restore<'a>, String> {
    Ok(Restore {
        id: super::id(given)?,
        criu: criu(given)?,
        bundle: given.raw("bundle"),
        console_socket: given.raw("console-socket"),
        pid_file: given.raw("pid-file"),
        detach: given.flag("detach")?,
        no_subreaper: given.flag("no-subreaper")?,
        no_pivot: given.flag("no-pivot")?,
        tcp_close: given.flag("tcp-close")?,
        lsm_profile: given.text("lsm-profile")?,
        lsm_mount_context: given.text("lsm-mount-context")?,
    })
}
