//! Somebody swaps two files of the root file system, or of a volume, as fast as the kernel lets it, while containers
//! are made: what another container that shares them could do. See CVE-2019-19921 and those after it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "races":
    HOST_ROOT {
        cve_2019_19921_proc_is_exchanged, cve_2021_30465_mount_point_is_exchanged,
        cve_2024_45310_folders_are_made_inside, cve_2025_52881_volume_never_covers_proc,
        cve_2025_31133_null_is_exchanged, cve_2025_52565_console_is_exchanged, cve_2025_52565_pts_is_exchanged,
        cwd_is_exchanged, device_is_exchanged,
    }
}

/// How long each race goes on; `ORLOP_RACE_SECONDS` makes it longer.
fn patience() -> Duration {
    let seconds = std::env::var("ORLOP_RACE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// Has `one` and `other` swapped all the while, and looks at a run after the other. Some must work, or nothing was
/// tested.
#[track_caller]
fn race(t: &Context, bundle: &Bundle, one: &Path, other: &Path, look: impl FnMut(&Done)) {
    race_with(t, one, other, || t.run(bundle), look);
}

#[track_caller]
fn race_with(_: &Context, one: &Path, other: &Path, run: impl Fn() -> Done, mut look: impl FnMut(&Done)) {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut worked, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                // Each state for as long as some of the runtime's calls: else both are always gone.
                for _ in 0..(swaps.load(Ordering::Relaxed) % 64) * 20 {
                    std::hint::spin_loop();
                }
            }
        });
        let end = Instant::now() + patience();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while Instant::now() < end {
                let done = run();
                // What the container's program then finds is its own affair.
                if done.code() == 0 || !done.stdout().is_empty() {
                    worked += 1
                } else {
                    refused += 1
                }
                look(&done);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    println!("{} swaps, {worked} worked, {refused} refused", swaps.into_inner());
    assert!(worked > 0, "nothing worked: {refused} refused");
}

/// A folder of the host that nothing may be made or mounted in.
fn outside(t: &Context) -> PathBuf {
    let path = t.dir().join("outside");
    fs::create_dir(&path).expect("writable");
    path
}

#[track_caller]
fn is_empty(path: &Path) {
    let names: Vec<_> = fs::read_dir(path).expect("it is ours").flatten().map(|entry| entry.path()).collect();
    assert!(names.is_empty(), "made outside: {names:?}");
}

/// A volume at /vol, and in it a folder and a link that take each other's place.
struct Volume {
    bundle: Bundle,
    folder: PathBuf,
    link: PathBuf,
}

fn volume(t: &Context, target: &Path) -> Volume {
    let top = t.dir().join("volume");
    let (folder, link) = (top.join("target"), top.join("link"));
    fs::create_dir_all(&folder).expect("writable");
    symlink(target, &link).expect("writable");
    let bundle = t.bundle().with("/mounts/-", json!({"destination": "/vol", "source": top, "options": ["rbind"]}));
    Volume { bundle, folder, link }
}

/// A line of mountinfo.
struct Mounted {
    id: String,
    parent: String,
    root: String,
    point: String,
    readonly: bool,
    kind: String,
    source: String,
}

fn mounted(done: &Done) -> Vec<Mounted> {
    let text = done.stdout();
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let (front, back): (Vec<&str>, Vec<&str>) = (front.split(' ').collect(), back.split(' ').collect());
        let own = |text: &&str| (*text).to_owned();
        Some(Mounted {
            id: front.first().map(own)?,
            parent: front.get(1).map(own)?,
            root: front.get(3).map(own)?,
            point: front.get(4).map(own)?,
            readonly: front.get(5)?.split(',').any(|option| option == "ro"),
            kind: back.first().map(own)?,
            source: back.get(1).map(own)?,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Whatever is called /proc in the end, a procfs of the container has its parts covered, and nothing was written to
/// the decoy.
fn cve_2019_19921_proc_is_exchanged(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["mounts"]).with("/linux/sysctl", json!({"kernel.msgmax": "4242"}));
    let bundle = bundle.with("/linux/maskedPaths", json!(["/proc/keys", "/proc/timer_list"]));
    let bundle = bundle.with("/linux/readonlyPaths", json!(["/proc/sys", "/proc/irq"]));
    let (proc, decoy) = (bundle.rootfs("proc"), bundle.rootfs("decoy"));
    for file in
        ["self/attr/exec", "self/attr/keycreate", "sys/kernel/msgmax", "keys", "timer_list", "irq/0", "self/fd/0"]
    {
        bundle.file(&format!("decoy/{file}"), b"as it was", 0o666);
    }
    // Where /proc is the decoy, what tells of the mounts is in the other folder.
    let bundle = bundle.with("/process/args", json!(["/bin/probe", "cat", "/decoy/self/mountinfo", "--", "mounts"]));
    let has = |mounts: &[Mounted], proc: &Mounted, name: &str| {
        mounts.iter().any(|m| m.parent == proc.id && m.point.ends_with(&format!("/{name}")))
    };
    let mut seen = 0;
    race_with(
        t,
        &proc,
        &decoy,
        || t.run(&bundle),
        |done| {
            let mounts = mounted(done);
            let of_proc = |m: &&Mounted| m.kind == "proc" && m.root == "/";
            for proc in mounts.iter().filter(of_proc) {
                seen += 1;
                for name in ["keys", "timer_list", "sys", "irq"] {
                    assert!(has(&mounts, proc, name), "{} is open at {}:\n{}", name, proc.point, done.stdout());
                }
            }
            for top in [&proc, &decoy] {
                if let Ok(text) = fs::read_to_string(top.join("sys/kernel/msgmax")) {
                    assert_eq!(text, "as it was");
                }
                if let Ok(text) = fs::read_to_string(top.join("self/attr/exec")) {
                    assert_eq!(text, "as it was");
                }
            }
        },
    );
    assert!(seen > 0, "no container could say what is mounted");
    Ok(())
}

/// The mount is on the folder, or there is no container: never where the link leads.
fn cve_2021_30465_mount_point_is_exchanged(t: &Context) -> Outcome {
    let outside = outside(t);
    let Volume { bundle, folder, link } = volume(t, &outside);
    let mount = json!({"destination": "/vol/target", "type": "tmpfs", "source": "raced"});
    let bundle = bundle.with("/mounts/-", mount).args(&["mounts", "--", "ls", "/"]);
    race(t, &bundle, &folder, &link, |done| {
        is_empty(&outside);
        if done.code() == 0 {
            let raced = mounted(done).into_iter().filter(|mount| mount.source == "raced").count();
            assert_eq!(raced, 1, "mounted elsewhere: {}", done.stdout());
            assert!(done.stdout().contains("\nbin\n"), "another root: {}", done.stdout());
        }
    });
    Ok(())
}

/// The folders that a mount point lacks are made below the root, whatever the link says.
fn cve_2024_45310_folders_are_made_inside(t: &Context) -> Outcome {
    let outside = outside(t);
    let Volume { bundle, folder, link } = volume(t, &outside);
    let tmpfs = json!({"destination": "/vol/target/a/b", "type": "tmpfs", "source": "raced"});
    let file = json!({"destination": "/vol/target/c/file", "source": "/etc/passwd", "options": ["bind"]});
    let bundle = bundle.with("/mounts/-", tmpfs).with("/mounts/-", file);
    let bundle = bundle.with("/process/cwd", json!("/vol/target/d/e"));
    race(t, &bundle, &folder, &link, |_| {
        is_empty(&outside);
        for name in ["a", "c", "d"] {
            // In one of the two: where it is by now.
            for top in [&folder, &link] {
                let made = top.join(name);
                assert!(!made.starts_with(&outside));
                if fs::symlink_metadata(top).is_ok_and(|meta| meta.is_dir()) {
                    let _gone = fs::remove_dir_all(made);
                }
            }
        }
    });
    is_empty(&outside);
    Ok(())
}

/// A volume reaches no procfs by a link that was a folder when it was looked at: CVE-2019-16884 as a race.
fn cve_2025_52881_volume_never_covers_proc(t: &Context) -> Outcome {
    let Volume { bundle, folder, link } = volume(t, Path::new("/proc/sys/kernel"));
    let evil = t.dir().join("evil");
    fs::create_dir(&evil).expect("writable");
    let mount = json!({"destination": "/vol/target", "source": evil, "options": ["bind"]});
    let bundle = bundle.with("/mounts/-", mount).args(&["mounts"]);
    race(t, &bundle, &folder, &link, |done| {
        let mounts = mounted(done);
        for proc in mounts.iter().filter(|mount| mount.kind == "proc" && mount.root == "/") {
            let on_it = mounts.iter().find(|mount| mount.parent == proc.id && mount.root.ends_with("/evil"));
            assert!(on_it.is_none(), "a volume covers procfs: {}", done.stdout());
        }
        let covers = |mount: &&Mounted| mount.root.ends_with("/evil") && mount.point.starts_with("/proc");
        assert!(!mounts.iter().any(|mount| covers(&mount)), "a volume covers procfs: {}", done.stdout());
    });
    Ok(())
}

/// Without a file system of its own at /dev: it is the image's.
fn with_the_images_dev(bundle: Bundle) -> Bundle {
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        fs::create_dir_all(bundle.rootfs(name)).expect("it is ours");
    }
    bundle.retain("/mounts", |mount| mount["destination"] != "/dev").with("/root/readonly", json!(false))
}

/// A victim that a link of the image leads to.
fn victim(t: &Context) -> PathBuf {
    let path = t.dir().join("victim");
    fs::write(&path, "as it was").expect("writable");
    path
}

#[track_caller]
fn is_as_it_was(victim: &Path) {
    assert_eq!(fs::read_to_string(victim).expect("it is ours"), "as it was");
}

/// What masks a file is the host's null device, whatever the image's is.
fn cve_2025_31133_null_is_exchanged(t: &Context) -> Outcome {
    let bundle = with_the_images_dev(t.bundle()).args(&["stat", "/proc/keys", "--", "mounts"]);
    // The image brings the device, as the first run leaves it.
    t.run(&bundle).ok();
    let (null, link) = (bundle.rootfs("dev/null"), bundle.rootfs("dev/link"));
    symlink("/proc/sys/kernel/core_pattern", &link).expect("writable");
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("root may");
    race(t, &bundle, &null, &link, |done| {
        if done.code() == 0 {
            let masked = done.value("/proc/keys");
            assert!(masked.starts_with("char") && masked.ends_with(" 1:3"), "masked by {masked}");
            let by_proc =
                mounted(done).into_iter().find(|mount| mount.kind == "proc" && mount.root != "/" && !mount.readonly);
            assert!(by_proc.is_none(), "procfs is bound: {}", done.stdout());
        }
    });
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").expect("root may"), before);
    Ok(())
}

fn in_a_session(t: &Context, bundle: &Bundle) -> Done {
    t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).through_bash("exec setsid --wait \"$@\"").end()
}

/// The terminal is at /dev/console, and nothing where a link in its place leads.
fn cve_2025_52565_console_is_exchanged(t: &Context) -> Outcome {
    let bundle = with_the_images_dev(t.bundle()).with("/process/terminal", json!(true));
    let bundle = bundle.args(&["stat", "/dev/console"]);
    let (console, link) = (bundle.rootfs("dev/console"), bundle.rootfs("dev/link"));
    fs::write(&console, "").expect("writable");
    let victim = victim(t);
    symlink(&victim, &link).expect("writable");
    race_with(t, &console, &link, || in_a_session(t, &bundle), |_| is_as_it_was(&victim));
    is_as_it_was(&victim);
    Ok(())
}

/// The terminal comes from a devpts, or there is none.
fn cve_2025_52565_pts_is_exchanged(t: &Context) -> Outcome {
    let bundle = with_the_images_dev(t.bundle()).with("/process/terminal", json!(true));
    let bundle = bundle.args(&["stat", "/dev/console", "--", "mounts"]);
    let (pts, trap) = (bundle.rootfs("dev/pts"), bundle.rootfs("dev/trap"));
    let victim = victim(t);
    fs::create_dir(&trap).expect("writable");
    symlink("/proc/sys/kernel/core_pattern", trap.join("0")).expect("writable");
    symlink(&victim, trap.join("ptmx")).expect("writable");
    race_with(
        t,
        &pts,
        &trap,
        || in_a_session(t, &bundle),
        |done| {
            is_as_it_was(&victim);
            if done.code() == 0 {
                let console = done.stdout().replace('\r', "");
                let line = console.lines().find_map(|line| line.strip_prefix("/dev/console: ")).expect("it says so");
                assert!(
                    line.starts_with("char") && line.rsplit(' ').next().is_some_and(|n| n.starts_with("136:")),
                    "{line}"
                );
            }
        },
    );
    Ok(())
}

/// The working folder is made and entered in the root.
fn cwd_is_exchanged(t: &Context) -> Outcome {
    let outside = outside(t);
    let bundle = t.bundle().with("/root/readonly", json!(false)).with("/process/cwd", json!("/place/below"));
    let bundle = bundle.args(&["cwd", "--", "ls", "/"]);
    let (place, link) = (bundle.rootfs("place"), bundle.rootfs("link"));
    fs::create_dir(&place).expect("writable");
    symlink(&outside, &link).expect("writable");
    race(t, &bundle, &place, &link, |done| {
        is_empty(&outside);
        if done.code() == 0 {
            assert!(done.stdout().contains("\nbin\n"), "another root: {}", done.stdout());
        }
    });
    Ok(())
}

/// Devices and their owners are the container's files, not what a folder's link leads to.
fn device_is_exchanged(t: &Context) -> Outcome {
    let outside = outside(t);
    let bundle = with_the_images_dev(t.bundle());
    let device = json!({"path": "/dev/sub/node", "type": "c", "major": 1, "minor": 3, "uid": 7, "gid": 7});
    let bundle = bundle.with("/linux/devices/-", device);
    let (sub, link) = (bundle.rootfs("dev/sub"), bundle.rootfs("dev/link"));
    fs::create_dir(&sub).expect("writable");
    symlink(&outside, &link).expect("writable");
    race(t, &bundle, &sub, &link, |_| {
        is_empty(&outside);
        for top in [&sub, &link] {
            if fs::symlink_metadata(top).is_ok_and(|meta| meta.is_dir()) {
                let _gone = fs::remove_file(top.join("node"));
            }
        }
    });
    is_empty(&outside);
    Ok(())
}
