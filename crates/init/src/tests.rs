//! Single steps, each in a child of this process with a user and a mount namespace of its own, where any user may
//! mount. What a step did is looked at from inside.

#![allow(unsafe_code)] // fork(2), and the plan's mapping
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // tests

use core::ffi::CStr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::borrow::ToOwned;
use std::format;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use orlop_sys::fs::MemfdFlags;
use orlop_sys::mem::Shared;
use orlop_sys::mount::{Attr, Propagation, Reach};
use orlop_sys::process::{self, Clone as CloneFlags, Ended, Waiting};
use orlop_sys::{Errno, credentials, thread};

use crate::image::{Image, Strings};
use crate::plan::{Status, View};
use crate::step::{
    Attempt, Call, DeviceKind, Follow, List, Make, ModeOf, NO_VALUE, NodeBy, OldRoot, OverProc, Param, Slot, Step, Text,
};
use crate::{Context, run};

const ROOT: Slot = Slot(0);
const MOUNT: Slot = Slot(1);
const TARGET: Slot = Slot(2);
const NULL: Slot = Slot(3);

/// What is looked at after the steps: `Err` says what is wrong.
type Check<'c> = dyn Fn(&Context<'_>, &Path) -> Result<(), String> + 'c;

/// How the steps ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// All are done, and the look at what they did found this.
    Done(Result<(), String>),
    /// The last step to begin failed so.
    Failed(Call, Errno),
    /// This machine has no user namespaces for us.
    Skipped,
}

/// A folder that is removed at the end: the root file system is in `rootfs`, and `outside` beside it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("orlop-init-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        for folder in ["rootfs", "outside"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        Scratch(path)
    }

    fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

unsafe extern "C" {
    /// The C library's own, which leaves its allocator usable in the child of a program with threads.
    safe fn fork() -> i32;
}

const NO_NAMESPACES: i32 = 77;

/// Runs the steps on the scratch's root file system, after those that every plan has before them.
fn after(
    scratch: &Scratch,
    steps: impl FnOnce(&mut Strings) -> Vec<Step>,
    program: (&[&str], &[&str]),
    check: &Check<'_>,
) -> Outcome {
    let mut strings = Strings::new();
    let path = strings.text(scratch.rootfs().to_str().unwrap().as_bytes());
    let mut all = Vec::from([
        Step::RootPropagation { propagation: Propagation::SLAVE, reach: Reach::Tree },
        Step::BindRoot { path, reach: Reach::Tree, out: ROOT },
    ]);
    all.extend(steps(&mut strings));
    let mut texts = |list: &[&str]| {
        let list: Vec<Text> = list.iter().map(|text| strings.text(text.as_bytes())).collect();
        strings.texts(&list)
    };
    let (args, env) = (texts(program.0), texts(program.1));
    let image = Image {
        steps: &all,
        strings: &strings,
        args,
        env,
        slots: [-1; crate::step::SLOTS],
        wake: -1,
        born: 0,
        timed: false,
    };
    let file = orlop_sys::fs::memfd(c"plan", MemfdFlags::NONE).unwrap();
    orlop_sys::fs::truncate(&file, image.size() as u64).unwrap();
    let shared = Shared::map(&file, image.size()).unwrap();
    // SAFETY: a new mapping of that size, zeroed as every new file is.
    unsafe { image.write(shared.start()) };
    // SAFETY: written by the line above.
    let (view, scratch_memory) = unsafe { View::new(shared.start(), shared.size()) }.unwrap();
    let mut found = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(scratch.0.join("found"))
        .unwrap();
    let (uid, gid) = (credentials::euid(), credentials::egid());

    let child = fork();
    if child == 0 {
        // A panic must not reach the harness, of which this child has a copy.
        let status = std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| {
            if !enter_namespaces(uid, gid) {
                return NO_NAMESPACES;
            }
            // SAFETY: the plan has no descriptors.
            let mut context = unsafe { Context::new(&view, scratch_memory) };
            run(&mut context, view.steps);
            let text = check(&context, &scratch.rootfs()).err().unwrap_or_default();
            found.write_all(text.as_bytes()).map_or(1, |()| 0)
        }));
        process::exit(status.unwrap_or(101));
    }
    assert!(child > 0, "fork");
    let ended = process::wait_pid(child, Waiting::Block).unwrap().unwrap();
    match (ended, view.header.status()) {
        (Ended::Exited(NO_NAMESPACES), _) => {
            #[allow(clippy::print_stderr)] // why a test did not run
            {
                std::eprintln!("skipped: no user namespaces here");
            }
            Outcome::Skipped
        }
        (Ended::Exited(1), Status::Failed) => {
            let call = Call::from_number(view.header.call.load(Ordering::Acquire)).unwrap();
            Outcome::Failed(call, Errno(view.header.errno.load(Ordering::Acquire)))
        }
        (Ended::Exited(0), Status::Working) => {
            let mut text = String::new();
            found.seek(SeekFrom::Start(0)).unwrap();
            found.read_to_string(&mut text).unwrap();
            Outcome::Done(if text.is_empty() { Ok(()) } else { Err(text) })
        }
        other => panic!("{other:?}"),
    }
}

fn enter_namespaces(uid: u32, gid: u32) -> bool {
    thread::unshare(CloneFlags::NEWUSER | CloneFlags::NEWNS).is_ok()
        && fs::write("/proc/self/setgroups", "deny").is_ok()
        && fs::write("/proc/self/uid_map", format!("0 {uid} 1")).is_ok()
        && fs::write("/proc/self/gid_map", format!("0 {gid} 1")).is_ok()
}

/// Expects an outcome, where there are user namespaces.
#[track_caller]
fn expect(found: Outcome, expected: Outcome) {
    if found != Outcome::Skipped {
        assert_eq!(found, expected);
    }
}

const DONE: Outcome = Outcome::Done(Ok(()));
const NO_PROGRAM: (&[&str], &[&str]) = (&["/bin/true"], &[]);

fn say(good: bool, what: impl core::fmt::Debug) -> Result<(), String> {
    if good { Ok(()) } else { Err(format!("{what:?}")) }
}

fn target(path: Text, make: Make, follow: Follow) -> Step {
    Step::Target { root: ROOT, path, make, like: MOUNT, over_proc: OverProc::Refused, follow, out: TARGET }
}

/// What is prepared, the mount point's path and kind, and how that ends.
#[test]
fn mount_points_are_made_inside_the_root() {
    type Prepare = fn(&Path) -> std::io::Result<()>;
    let nothing: Prepare = |_| Ok(());
    let table: [(Prepare, &str, Make, Follow, Outcome); 11] = [
        (nothing, "/a/b/c", Make::Directory, Follow::Links, DONE),
        (nothing, "/a/b/file", Make::File, Follow::Links, DONE),
        (|root| fs::create_dir(root.join("there")), "/there", Make::Directory, Follow::Links, DONE),
        // What leads out of the root by its text leads to the same place inside of it.
        (
            |root| fs::create_dir(root.join("outside")).and_then(|()| symlink("../../outside", root.join("link"))),
            "/link/new",
            Make::Directory,
            Follow::Links,
            DONE,
        ),
        (nothing, "/a/../../../outside/new", Make::Directory, Follow::Links, DONE),
        (|root| symlink("../outside", root.join("link")), "/link/new", Make::Directory, Follow::Links, DONE),
        // A link to nothing is no mount point, and is not taken for one: what it names inside the root is made, as runc
        // does.
        (|root| symlink("/nothing", root.join("link")), "/link", Make::File, Follow::Links, DONE),
        (
            |root| symlink("link", root.join("link")),
            "/link",
            Make::File,
            Follow::Links,
            Outcome::Failed(Call::Openat2, Errno::LOOP),
        ),
        (
            |root| symlink("/there", root.join("link")),
            "/link",
            Make::Directory,
            Follow::Nothing,
            Outcome::Failed(Call::DirectoryCheck, Errno::LOOP),
        ),
        (
            |root| fs::write(root.join("file"), ""),
            "/file",
            Make::Directory,
            Follow::Nothing,
            Outcome::Failed(Call::DirectoryCheck, Errno::NOTDIR),
        ),
        (
            |root| fs::write(root.join("file"), ""),
            "/file/below",
            Make::Directory,
            Follow::Links,
            Outcome::Failed(Call::Openat2, Errno::NOTDIR),
        ),
    ];
    for (prepare, path, make, follow, expected) in table {
        let scratch = Scratch::new();
        prepare(&scratch.rootfs()).unwrap();
        let there = scratch.rootfs().join(&path[1..]).exists();
        let steps = |strings: &mut Strings| Vec::from([target(strings.text(path.as_bytes()), make, follow)]);
        let check = |ctx: &Context<'_>, _: &Path| {
            let stat = orlop_sys::fs::stat(ctx.fd(TARGET).map_err(|e| format!("{e:?}"))?).map_err(|e| e.to_string())?;
            say(stat.is_dir() == (make == Make::Directory), "the kind")?;
            say(ctx.target_was_there == there, "whether it was there")
        };
        let found = after(&scratch, steps, NO_PROGRAM, &check);
        assert_eq!(fs::read_dir(scratch.0.join("outside")).unwrap().count(), 0, "{path}: outside of the root");
        expect(found, expected);
    }
}

/// A bind of the host's procfs, as no container may cover it: CVE-2019-16884.
fn with_proc(strings: &mut Strings) -> Vec<Step> {
    let proc = strings.text(b"/proc");
    Vec::from([
        Step::CloneTree { path: proc, reach: Reach::Tree, follow: Follow::Links, or: NO_VALUE, out: MOUNT },
        Step::Target {
            root: ROOT,
            path: proc,
            make: Make::Directory,
            like: MOUNT,
            over_proc: OverProc::BySameKind,
            follow: Follow::Nothing,
            out: TARGET,
        },
        Step::Attach { mount: MOUNT, target: TARGET },
    ])
}

#[test]
fn no_mount_covers_procfs() {
    let scratch = Scratch::new();
    let steps = |strings: &mut Strings| {
        let mut steps = with_proc(strings);
        steps.push(target(strings.text(b"/proc/self/attr"), Make::Directory, Follow::Links));
        steps
    };
    expect(after(&scratch, steps, NO_PROGRAM, &|_, _| Ok(())), Outcome::Failed(Call::ProcCheck, Errno::PERM));
}

/// mount(2)'s errno, which engines know, where move_mount(2) has but EINVAL.
#[test]
fn a_directory_on_a_file_is_not_a_directory() {
    let scratch = Scratch::new();
    fs::write(scratch.rootfs().join("file"), "").unwrap();
    let steps = |strings: &mut Strings| {
        let (source, file) = (strings.text(b"/proc"), strings.text(b"/file"));
        let clone =
            Step::CloneTree { path: source, reach: Reach::One, follow: Follow::Links, or: NO_VALUE, out: MOUNT };
        let attach = Step::Attach { mount: MOUNT, target: TARGET };
        Vec::from([clone, target(file, Make::File, Follow::Links), attach])
    };
    expect(after(&scratch, steps, NO_PROGRAM, &|_, _| Ok(())), Outcome::Failed(Call::MoveMount, Errno::NOTDIR));
}

#[test]
fn masked_paths_show_nothing() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.rootfs().join("secrets")).unwrap();
    fs::write(scratch.rootfs().join("secrets/key"), "key").unwrap();
    fs::write(scratch.rootfs().join("file"), "key").unwrap();
    symlink("/secrets", scratch.rootfs().join("link")).unwrap();
    let steps = |strings: &mut Strings| {
        let mut steps = Vec::from([Step::OpenNull { out: NULL }]);
        steps.extend(["/link", "/file", "/missing", "/file/below"].map(|path| Step::Mask {
            root: ROOT,
            path: strings.text(path.as_bytes()),
            null: NULL,
        }));
        steps
    };
    let check = |_: &Context<'_>, root: &Path| {
        let left = fs::read_dir(root.join("secrets")).map_err(|e| e.to_string())?.count();
        say(left == 0, left)?;
        say(fs::write(root.join("secrets/new"), "").is_err(), "the cover is writable")?;
        let file = fs::metadata(root.join("file")).map_err(|e| e.to_string())?;
        say(file.file_type().is_char_device() && file.rdev() == 0x103, file)
    };
    expect(after(&scratch, steps, NO_PROGRAM, &check), DONE);
}

#[test]
fn read_only_paths_are() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.rootfs().join("fixed")).unwrap();
    let steps = |strings: &mut Strings| {
        ["/fixed", "/missing"].map(|path| Step::ReadOnlyPath { root: ROOT, path: strings.text(path.as_bytes()) }).into()
    };
    let check = |_: &Context<'_>, root: &Path| {
        let written = fs::write(root.join("fixed/file"), "").map_err(|error| error.raw_os_error());
        say(written == Err(Some(Errno::ROFS.0)), written)?;
        say(fs::write(root.join("file"), "").is_ok(), "the rest is read-only, too")
    };
    expect(after(&scratch, steps, NO_PROGRAM, &check), DONE);
}

/// An image's /tmp stays 1777 under its tmpfs; a missing one has the file system's own mode.
#[test]
fn a_new_file_system_takes_the_mount_points_mode() {
    for (mode, expected) in [(Some(0o1777), 0o1777), (Some(0o700), 0o700), (Some(0o4), 0o4), (None, 0o1777)] {
        let scratch = Scratch::new();
        if let Some(mode) = mode {
            let path = scratch.rootfs().join("tmp");
            fs::create_dir(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let steps = |strings: &mut Strings| {
            let path = strings.text(b"/tmp");
            let fstype = strings.text(b"tmpfs");
            let params: List<Param> = strings.params([(b"size".as_slice(), Some(b"1m".as_slice()))]);
            let made = Step::MakeFs {
                fstype,
                params,
                attr: Attr::NOSUID,
                mode_of: ModeOf::Target,
                target: TARGET,
                host: NO_VALUE,
                out: MOUNT,
            };
            let attach = Step::Attach { mount: MOUNT, target: TARGET };
            Vec::from([target(path, Make::Directory, Follow::Links), made, attach])
        };
        let check = |_: &Context<'_>, root: &Path| {
            let found = fs::metadata(root.join("tmp")).map_err(|e| e.to_string())?.mode() & 0o7777;
            say(found == expected, format!("{found:o} for {mode:?}"))
        };
        expect(after(&scratch, steps, NO_PROGRAM, &check), DONE);
    }
}

/// An image may bring its devices: the same one will do, and nothing else in its place.
#[test]
fn what_stands_in_a_devices_place_is_checked() {
    let different = Outcome::Failed(Call::DeviceCheck, Errno::EXIST);
    let table: [(&str, DeviceKind, Outcome); 5] = [
        ("fifo", DeviceKind::Fifo, DONE),
        ("new", DeviceKind::Fifo, DONE),
        ("file", DeviceKind::Fifo, different),
        ("link", DeviceKind::Fifo, Outcome::Failed(Call::DeviceCheck, Errno::EXIST)),
        ("fifo", DeviceKind::Character, Outcome::Failed(Call::DeviceCheck, Errno::EXIST)),
    ];
    for (name, kind, expected) in table {
        let scratch = Scratch::new();
        let dev = scratch.rootfs().join("dev");
        fs::create_dir(&dev).unwrap();
        let directory = orlop_sys::fs::open_at(
            orlop_sys::CWD,
            &std::ffi::CString::new(dev.to_str().unwrap()).unwrap(),
            orlop_sys::fs::OFlags::PATH,
            0,
        )
        .unwrap();
        orlop_sys::fs::mknod_at(&directory, c"fifo", 0o010_600, 0, 0).unwrap();
        fs::write(dev.join("file"), "").unwrap();
        symlink("fifo", dev.join("link")).unwrap();
        let steps = |strings: &mut Strings| {
            let path = strings.text(format!("/dev/{name}").as_bytes());
            Vec::from([Step::Device {
                root: ROOT,
                path,
                kind,
                mode: 0o666,
                major: 1,
                minor: 3,
                uid: 0,
                gid: 0,
                node: NodeBy::Mknod,
            }])
        };
        expect(after(&scratch, steps, NO_PROGRAM, &|_, _| Ok(())), expected);
    }
}

/// CVE-2024-21626: a descriptor of the host as working directory.
#[test]
fn the_working_directory_lies_in_the_root() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.rootfs().join("home")).unwrap();
    let leak = File::open(scratch.0.join("outside")).unwrap();
    let table = [
        ("/home".to_owned(), DONE),
        ("/missing".to_owned(), Outcome::Failed(Call::Chdir, Errno::NOENT)),
        (format!("/proc/self/fd/{}", leak.as_raw_fd()), Outcome::Failed(Call::CwdCheck, Errno::NOENT)),
        (format!("/proc/self/fd/{}/../outside", leak.as_raw_fd()), Outcome::Failed(Call::CwdCheck, Errno::NOENT)),
    ];
    for (path, expected) in table {
        let steps = |strings: &mut Strings| {
            let mut steps = with_proc(strings);
            steps.push(Step::Chroot { root: ROOT });
            steps.push(Step::Chdir { path: strings.text(path.as_bytes()), attempt: Attempt::Last });
            steps
        };
        expect(after(&scratch, steps, NO_PROGRAM, &|ctx, _| say(ctx.cwd_set, "set")), expected);
    }
}

/// The user, its environment, and the home that the program gets: CVE-2016-3697 for the user by number.
#[test]
fn home_is_the_passwd_entrys() {
    let long = format!("{}:x:7:7::/no:/bin/sh\n", "l".repeat(9000));
    let passwd =
        format!("root:x:0:0::/root:/bin/sh\n1000:x:0:0::/trap:/bin/sh\n{long}user:x:1000:100::/home/user:/bin/sh");
    type Case<'a> = (Option<&'a str>, u32, &'a [&'a str], Option<&'a str>);
    let table: [Case<'_>; 6] = [
        (Some(&passwd), 0, &[], Some("HOME=/root")),
        (Some(&passwd), 1000, &["A=b", "HOME="], Some("HOME=/home/user")),
        (Some(&passwd), 1000, &["HOME=/set"], None),
        (Some(&passwd), 5, &[], Some("HOME=/")),
        (None, 0, &[], Some("HOME=/")),
        (Some(""), 0, &["HOMES=/x"], Some("HOME=/")),
    ];
    for (passwd, uid, env, expected) in table {
        let scratch = Scratch::new();
        if let Some(passwd) = passwd {
            fs::create_dir(scratch.rootfs().join("etc")).unwrap();
            fs::write(scratch.rootfs().join("etc/passwd"), passwd).unwrap();
        }
        let steps = |_: &mut Strings| Vec::from([Step::Chroot { root: ROOT }, Step::Home { uid }]);
        let check = |ctx: &Context<'_>, _: &Path| {
            let home = ctx.home.map(|at| CStr::from_bytes_until_nul(&ctx.scratch[at..]).unwrap().to_str().unwrap());
            say(home == expected, (home, expected))
        };
        expect(after(&scratch, steps, (&["/bin/true"], env), &check), DONE);
    }
}

#[test]
fn the_program_is_found_as_a_shell_would() {
    let failed = Outcome::Failed;
    let table = [
        ("tool", "PATH=/none:/a:/b", DONE, "/b/tool"),
        ("tool", "PATH=/a", failed(Call::Lookup, Errno::NOENT), ""),
        ("tool", "NO_PATH=/b", failed(Call::Lookup, Errno::NOENT), ""),
        ("folder", "PATH=/b", failed(Call::Lookup, Errno::NOENT), ""),
        ("/b/tool", "PATH=", DONE, "/b/tool"),
        ("/b/folder", "PATH=", failed(Call::Lookup, Errno::ISDIR), ""),
        ("/b/none", "PATH=", failed(Call::Statx, Errno::NOENT), ""),
        ("/a/tool", "PATH=", failed(Call::Access, Errno::ACCES), ""),
    ];
    for (name, path, expected, place) in table {
        let scratch = Scratch::new();
        for (folder, mode) in [("a", 0o644), ("b", 0o755)] {
            let folder = scratch.rootfs().join(folder);
            fs::create_dir_all(folder.join("folder")).unwrap();
            fs::write(folder.join("tool"), "").unwrap();
            fs::set_permissions(folder.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let steps = |_: &mut Strings| Vec::from([Step::Chroot { root: ROOT }, Step::FindProgram {}]);
        let check = |ctx: &Context<'_>, _: &Path| {
            let found = CStr::from_bytes_until_nul(ctx.scratch).unwrap().to_str().unwrap();
            say(ctx.program_found && found == place, found)
        };
        expect(after(&scratch, steps, (&[name], &[path]), &check), expected);
    }
}

#[test]
fn nothing_of_the_old_root_is_left() {
    let scratch = Scratch::new();
    fs::write(scratch.rootfs().join("marker"), "").unwrap();
    let steps = |strings: &mut Strings| {
        let mut steps = with_proc(strings);
        steps.push(Step::Pivot { root: ROOT, old: OldRoot::MaySpread });
        steps
    };
    let check = |_: &Context<'_>, old: &Path| {
        say(Path::new("/marker").exists() && !old.exists(), "another root")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
        let places: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        say(places.iter().all(|place| *place == "/" || place.starts_with("/proc")), &places)
    };
    expect(after(&scratch, steps, NO_PROGRAM, &check), DONE);
}
