//! What went wrong in the field once, and must not go wrong here.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::json;

use crate::context::Context;
use crate::tests::{Outcome, tests};

tests! { "security":
    EVERYWHERE {
        descriptors_are_closed, preserved_descriptors, listen_fds_are_preserved,
        cve_2019_5736_init_is_not_the_binary, cve_2019_5736_entrypoint,
        cve_2024_21626_cwd, cve_2025_54867_proc_is_a_link,
        mount_target_link_stays_inside, masked_link_stays_inside, state_is_private,
        volume_on_proc_is_refused, cve_2021_43784_large_fields, cve_2025_24965_made_files_follow_no_link,
        cve_2023_25809_cgroup_is_read_only, cve_2019_5736_exec,
    }
    ROOT {
        cve_2016_3697_numeric_user, cve_2026_41579_dev_is_a_link, cve_2024_40635_uid,
        forbidden_device, state_of_a_created_one_is_not_readable, cve_2021_43784_many_mappings,
        cve_2026_30892_exec_user, no_pivot_leaves_nothing_of_the_host, cve_2023_27561_sys_is_a_link,
    }
}

/// Descriptors that the caller leaked reach neither the container nor anything that outlives the call.
fn descriptors_are_closed(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["fds"]);
    let script = "exec 3</etc/passwd 7</ 9>/dev/null; exec {high}</etc; exec \"$@\"";
    for i in 0..3 {
        let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id(&format!("c{i}"))]);
        let done = run.through_bash(script).end().ok();
        let text = done.stdout();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names, ["fd 0", "fd 1", "fd 2"], "{text}");
    }
    let id = t.id("created");
    let create = t.orlop(&["create", "--bundle", bundle.path(), &id]);
    create.through_bash(script).end().ok();
    // Its own of the root are closed last, when `create` may have returned.
    let fds = format!("/proc/{}/fd", t.pid(&id));
    let targets = || fs::read_dir(&fds).expect("it waits").flatten().flat_map(|entry| fs::read_link(entry.path()));
    let is_leaked = |target: std::path::PathBuf| ["/etc/passwd", "/", "/etc"].map(Into::into).contains(&target);
    t.wait_until("init has no descriptor of the caller's", || !targets().any(is_leaked));
    t.delete(&id);
    Ok(())
}

fn preserved_descriptors(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["fds"]);
    let args = ["run", "--preserve-fds", "2", "--bundle", bundle.path(), &t.id("c")];
    let script = "exec 3</etc/passwd 4</dev/null 5</etc/group; exec \"$@\"";
    let done = t.orlop(&args).through_bash(script).end().ok();
    assert_eq!(done.value("fd 3"), "/etc/passwd");
    assert_eq!(done.value("fd 4"), "/dev/null");
    assert!(done.values("fd 5").is_empty(), "{}", done.stdout());
    Ok(())
}

fn listen_fds_are_preserved(t: &Context) -> Outcome {
    let bundle = t.bundle().args(&["fds", "--", "env"]);
    let run = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).env("LISTEN_FDS", "1");
    let script = "exec 3</etc/passwd 4</dev/null; export LISTEN_PID=$$; exec \"$@\"";
    let done = run.through_bash(script).end().ok();
    assert_eq!(done.value("fd 3"), "/etc/passwd");
    assert!(done.values("fd 4").is_empty(), "{}", done.stdout());
    let env = done.values("env");
    assert!(env.contains(&"LISTEN_FDS=1".to_owned()), "{env:?}");
    assert!(env.contains(&"LISTEN_PID=1".to_owned()), "{env:?}");
    Ok(())
}

/// The waiting init's program is a sealed copy: its inode is not the host's binary.
fn cve_2019_5736_init_is_not_the_binary(t: &Context) -> Outcome {
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let exe = fs::metadata(format!("/proc/{}/exe", t.pid(&id))).expect("root may look");
    let binary = fs::metadata(t.binary()).expect("it is there");
    assert_ne!((exe.dev(), exe.ino()), (binary.dev(), binary.ino()));
    t.delete(&id);
    Ok(())
}

/// The entrypoint, and a script's interpreter, name the program that executes them.
fn cve_2019_5736_entrypoint(t: &Context) -> Outcome {
    let before = fs::read(t.binary()).expect("it is there");
    for args in [json!(["/proc/self/exe"]), json!(["/script"])] {
        let bundle = t.bundle().with("/process/args", args).with("/root/readonly", json!(false));
        bundle.file("script", b"#!/proc/self/exe\n", 0o755);
        t.run(&bundle);
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    assert!(fs::read(t.binary()).expect("it is there") == before, "the binary has changed");
    Ok(())
}

/// No working folder outside the root, through a descriptor of the runtime.
fn cve_2024_21626_cwd(t: &Context) -> Outcome {
    for fd in 3..20 {
        let cwd = format!("/proc/self/fd/{fd}");
        let bundle = t.bundle().with("/process/cwd", json!(cwd)).args(&["cwd", "--", "ls", "."]);
        let done = t.run(&bundle);
        assert!(done.code() > 0, "cwd {cwd} was taken: {}", done.stdout());
        assert_eq!(done.stdout(), "");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn linked_top(t: &Context, name: &str) -> String {
    let bundle = t.bundle().args(&["true"]);
    let outside = t.dir().join("outside");
    fs::create_dir(&outside).expect("writable");
    fs::remove_dir(bundle.rootfs(name)).expect("it is ours");
    symlink(&outside, bundle.rootfs(name)).expect("writable");
    let done = t.run(&bundle);
    assert!(done.code() > 0, "/{name} as a link was taken");
    assert_eq!(fs::read_dir(&outside).expect("it is ours").count(), 0);
    done.stderr()
}

fn cve_2025_54867_proc_is_a_link(t: &Context) -> Outcome {
    assert!(linked_top(t, "proc").contains("/proc"));
    Ok(())
}

/// An ordinary user's /sys is a copy of the host's, for which a link stays inside as for any other.
fn cve_2023_27561_sys_is_a_link(t: &Context) -> Outcome {
    t.needs_root()?;
    assert!(linked_top(t, "sys").contains("/sys"));
    Ok(())
}

/// Whatever becomes of it, nothing is made or mounted outside.
fn cve_2026_41579_dev_is_a_link(t: &Context) -> Outcome {
    t.needs_root()?;
    let targets = [t.dir().join("outside").to_string_lossy().into_owned(), "../../outside".into()];
    for (target, ptmx) in targets.iter().zip([false, true]) {
        let bundle = t.bundle().with("/root/readonly", json!(false)).args(&["true"]);
        let outside = t.dir().join("outside");
        fs::create_dir(&outside).expect("writable");
        fs::remove_dir(bundle.rootfs("dev")).expect("it is ours");
        symlink(target, bundle.rootfs("dev")).expect("writable");
        let made = if ptmx {
            fs::write(outside.join("ptmx"), "").expect("writable");
            1
        } else {
            0
        };
        t.run(&bundle);
        t.create(&bundle, &t.id("created"));
        t.delete(&t.id("created"));
        assert_eq!(fs::read_dir(&outside).expect("it is ours").count(), made, "{target}");
        if ptmx {
            assert_eq!(fs::read(outside.join("ptmx")).expect("it is ours"), b"");
            fs::remove_file(outside.join("ptmx")).expect("it is ours");
        }
        fs::remove_dir(&outside).expect("nothing is mounted on it");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

fn mount_target_link_stays_inside(t: &Context) -> Outcome {
    let outside = t.dir().join("outside");
    fs::create_dir(&outside).expect("writable");
    for target in [outside.to_string_lossy().into_owned(), "../../outside".into()] {
        let bundle = t.bundle();
        symlink(&target, bundle.rootfs("link")).expect("writable");
        let mount = json!({"destination": "/link/below", "source": "tmpfs", "type": "tmpfs"});
        t.run(&bundle.with("/mounts/-", mount));
        assert_eq!(fs::read_dir(&outside).expect("it is ours").count(), 0, "{target}");
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

fn masked_link_stays_inside(t: &Context) -> Outcome {
    let outside = t.dir().join("outside");
    fs::write(&outside, "as it was").expect("writable");
    let bundle = t.bundle().with("/linux/maskedPaths", json!(["/masked"]));
    symlink(&outside, bundle.rootfs("masked")).expect("writable");
    t.run(&bundle);
    assert_eq!(fs::read_to_string(&outside).expect("it is ours"), "as it was");
    Ok(())
}

/// CVE-2019-16884 and CVE-2019-19921: /proc is procfs, and nothing of the image covers its parts.
fn volume_on_proc_is_refused(t: &Context) -> Outcome {
    let source = t.dir().join("source");
    fs::create_dir(&source).expect("writable");
    for target in ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys"] {
        let mount = json!({"destination": target, "source": source, "options": ["bind"]});
        let bundle = t.bundle().with("/mounts/-", mount);
        let done = t.run(&bundle);
        assert!(done.code() > 0, "a volume on {target} was taken");
        assert!(done.stderr().contains("/proc"), "{}", done.stderr());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// The user is a number, whatever the image's passwd calls by that number.
fn cve_2016_3697_numeric_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let bundle = t.bundle().with("/process/user", json!({"uid": 1000, "gid": 1000}));
    bundle.file("etc/passwd", b"1000:x:0:0::/root:/bin/sh\n", 0o644);
    assert_eq!(t.run(&bundle.args(&["id"])).ok().value("euid"), "1000");
    Ok(())
}

/// Ids that do not fit, or mean "unchanged", do not become root.
fn cve_2024_40635_uid(t: &Context) -> Outcome {
    t.needs_root()?;
    for uid in [2_147_483_648u64, 4_294_967_295, 4_294_967_296, 8_589_934_592] {
        let bundle = t.bundle().with("/process/user/uid", json!(uid)).args(&["id"]);
        let done = t.run(&bundle);
        let fits = uid < 4_294_967_295;
        let refused = done.code() > 0 && done.stdout().is_empty();
        assert!(refused || fits && done.value("euid") == uid.to_string(), "{uid}: {}", done.stdout());
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// The device list denies what it does not allow: making the node works, opening it does not.
fn forbidden_device(t: &Context) -> Outcome {
    t.needs_root()?;
    let caps = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    let mut bundle = t.bundle().with("/root/readonly", json!(false));
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), caps.clone());
    }
    let made = ["mknod", "/tmp/mem", "1", "1", "--", "open", "/tmp/mem"];
    let allowed = ["--", "mknod", "/tmp/null", "1", "3", "--", "open-both", "/tmp/null"];
    let done = t.run(&bundle.args(&[made.as_slice(), &allowed].concat())).exits(1);
    done.prints(&["open /tmp/mem: EPERM", "opened rw: /tmp/null"]);
    Ok(())
}

/// Folders 0700, or 0711 where a user namespace's root passes; files 0600.
fn state_is_private(t: &Context) -> Outcome {
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let top = t.dir().join("root").join(&id);
    let mut entries = vec![top.clone()];
    entries.extend(fs::read_dir(&top).expect("the state folder").flatten().map(|e| e.path()));
    for path in entries {
        let meta = fs::symlink_metadata(&path).expect("it is there");
        if meta.is_symlink() {
            continue; // its mode means nothing, and the folder is closed
        }
        let forbidden = if meta.is_dir() { 0o066 } else { 0o077 };
        let mode = meta.mode() & 0o777;
        assert_eq!(mode & forbidden, 0, "{} has mode {mode:o}", path.display());
    }
    t.delete(&id);
    Ok(())
}

/// Another user sees neither the state nor the waiting process's memory.
fn state_of_a_created_one_is_not_readable(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    t.create(&t.bundle(), &id).ok();
    let status = fs::metadata(format!("/proc/{}/environ", t.pid(&id))).expect("it waits");
    assert_eq!((status.uid(), status.mode() & 0o077), (0, 0));
    t.delete(&id);
    Ok(())
}

/// CVE-2021-43784 was a length that did not fit: fields far larger than any protocol's buffer arrive whole, and what
/// the kernel does not take is an error.
fn cve_2021_43784_large_fields(t: &Context) -> Outcome {
    let long = "x".repeat(100_000);
    let mut env: Vec<String> = (0..5_000).map(|n| format!("VARIABLE_{n}=a value of the environment")).collect();
    env.push(format!("LONG={long}"));
    let mut bundle = t.bundle().args(&["args", &long, &long, "--", "env"]).with("/process/env", json!(env));
    bundle.set("/annotations", json!({"long": "y".repeat(1 << 20)}));
    let done = t.run(&bundle).ok();
    let args = done.values("arg");
    assert!(
        args.iter().filter(|arg| **arg == long).count() == 2,
        "{:?}",
        args.iter().map(String::len).collect::<Vec<_>>()
    );
    let found = done.values("env");
    assert!(env.iter().all(|entry| found.contains(entry)), "{} of {}", found.len(), env.len());
    for (pointer, value) in [
        ("/process/args", json!(["/bin/probe", "x".repeat(1 << 18)])),
        ("/process/cwd", json!(format!("/{}", "d/".repeat(40_000)))),
        ("/hostname", json!("h".repeat(70_000))),
        ("/linux/cgroupsPath", json!(format!("/{}", "c".repeat(70_000)))),
        ("/process/user/additionalGids", json!((0..70_000).collect::<Vec<u32>>())),
    ] {
        let bundle = t.bundle_again().with(pointer, value);
        let done = t.run(&bundle);
        assert!(done.code() > 0, "{pointer} was taken");
        assert!(!done.stderr().is_empty(), "{pointer} is refused without a word");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// As many id mappings as the kernel takes, and one more.
fn cve_2021_43784_many_mappings(t: &Context) -> Outcome {
    t.needs_root()?;
    for (count, taken) in [(340u32, true), (341, false), (5_000, false)] {
        let maps: Vec<_> = (0..count).map(|n| json!({"containerID": n, "hostID": 1_000 + n, "size": 1})).collect();
        let bundle =
            t.bundle().with("/linux/namespaces/-", json!({"type": "user"})).args(&["cat", "/proc/self/uid_map"]);
        let bundle = bundle.with("/linux/uidMappings", json!(maps)).with("/linux/gidMappings", json!(maps));
        let done = t.run(&bundle);
        assert_eq!(done.code() == 0, taken, "{count}: {}", done.stderr());
        if taken {
            assert_eq!(done.stdout().lines().count(), count as usize);
        }
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}

/// A user that is a number is that number, however it is written, and what is none is refused.
fn cve_2026_30892_exec_user(t: &Context) -> Outcome {
    t.needs_root()?;
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]);
    bundle.file("etc/passwd", b"1:x:0:0::/trap:/x\n01:x:0:0::/trap:/x\n", 0o644);
    bundle.file("etc/group", b"1:x:0:\n", 0o644);
    t.detach(&bundle, &id);
    let exec = |user: &str| t.orlop(&["exec", "--user", user, &id, "/bin/probe", "id", "--", "caps"]).end();
    for (user, ids) in [("1", ["1", "0"]), ("1:1", ["1", "1"]), ("01", ["1", "0"]), ("0:1", ["0", "1"])] {
        let done = exec(user);
        // A form may be refused; it is never another user.
        if done.code() == 0 {
            assert_eq!([done.value("euid"), done.value("egid")], ids, "{user}");
        } else {
            assert!(user.starts_with("01"), "{user}: {}", done.stderr());
        }
    }
    for user in
        ["", " 1", "1 ", "+1", "-1", "1,2", "1.0", "1e0", "0x1", "one", "root", "4294967295", "4294967297", ":", "1:-1"]
    {
        exec(user).exits(255);
    }
    t.delete(&id);
    Ok(())
}

/// A file that the runtime makes in the root is no link's target: the file that a bind mount covers, and the
/// terminal's.
fn cve_2025_24965_made_files_follow_no_link(t: &Context) -> Outcome {
    let outside = t.dir().join("outside");
    fs::create_dir(&outside).expect("writable");
    let victim = t.dir().join("victim");
    fs::write(&victim, "as it was").expect("writable");
    for target in [outside.join("made"), victim.clone(), "../../../outside/made".into(), "../../../victim".into()] {
        let bundle = t.bundle().with("/root/readonly", json!(false));
        symlink(&target, bundle.rootfs("etc/resolv.conf")).expect("writable");
        let source = t.dir().join("source");
        fs::write(&source, "nameserver 127.0.0.1").expect("writable");
        let mount = json!({"destination": "/etc/resolv.conf", "source": source, "options": ["bind", "ro"]});
        let done = t.run(&bundle.with("/mounts/-", mount).args(&["cat", "/etc/resolv.conf"]));
        assert!(done.code() > 0 || done.stdout().contains("nameserver"), "{}", done.stdout());
        assert_eq!(fs::read_dir(&outside).expect("it is ours").count(), 0, "{}", target.display());
        assert_eq!(fs::read_to_string(&victim).expect("it is ours"), "as it was", "{}", target.display());
        fs::remove_dir_all(t.dir().join("bundle")).expect("nothing is mounted there");
    }
    Ok(())
}

/// Nobody in the container writes to the host's cgroups, with a cgroup namespace or without.
fn cve_2023_25809_cgroup_is_read_only(t: &Context) -> Outcome {
    let user = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    for (own_cgroup, own_users) in [(true, false), (false, false), (false, true)] {
        if own_users && t.needs_root().is_err() {
            continue;
        }
        let commands = ["mkdir", "/sys/fs/cgroup/made", "/sys/fs/cgroup/memory/made", "/sys/fs/cgroup/unified/made"];
        let mut bundle = t.bundle().retain("/linux/namespaces", |space| own_cgroup || space["type"] != "cgroup");
        if own_users {
            bundle.set("/linux/namespaces/-", json!({"type": "user"}));
            bundle.set("/linux/uidMappings", user.clone());
            bundle.set("/linux/gidMappings", user.clone());
        }
        let done = t.run(&bundle.args(&commands)).exits(1);
        for path in &commands[1..] {
            let refused = ["EROFS", "ENOENT", "EACCES", "EPERM"]
                .iter()
                .any(|e| done.stdout().contains(&format!("mkdir {path}: {e}")));
            assert!(refused, "{path}: {}", done.stdout());
        }
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

/// /proc/self/exe as the program of an exec, and as an interpreter: it is never the host's binary.
fn cve_2019_5736_exec(t: &Context) -> Outcome {
    let before = fs::read(t.binary()).expect("it is there");
    let id = t.id("c");
    let bundle = t.bundle().args(&["sleep", "600"]);
    bundle.file("bin/script", b"#!/proc/self/exe\n", 0o755);
    bundle.file("bin/elf", &with_interpreter(b"/proc/self/exe"), 0o755);
    t.detach(&bundle, &id);
    for program in ["/proc/self/exe", "/bin/script", "/bin/elf"] {
        t.orlop(&["exec", &id, program]).end();
    }
    t.delete(&id);
    let mut bundle = t.bundle_again().with("/root/readonly", json!(false));
    bundle.file("bin/elf", &with_interpreter(b"/proc/self/exe"), 0o755);
    bundle.set("/process/args", json!(["/bin/elf"]));
    t.run(&bundle);
    assert!(fs::read(t.binary()).expect("it is there") == before, "the binary has changed");
    // Who has come so far as to look finds its own program, and cannot write to it.
    bundle.set(
        "/process/args",
        json!(["/bin/probe", "readlink", "/proc/self/exe", "--", "open-write", "/proc/self/exe"]),
    );
    let done = t.run(&bundle).exits(1);
    assert_eq!(done.stdout(), "/proc/self/exe: /bin/probe\nopen-write /proc/self/exe: ETXTBSY\n");
    Ok(())
}

/// The least program of 64 bits that asks for an interpreter: a header, PT_INTERP and its path.
fn with_interpreter(path: &[u8]) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend(3u16.to_le_bytes());
    elf.extend(machine.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    for word in [0u64, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(3u32.to_le_bytes());
    elf.extend(4u32.to_le_bytes());
    let len = path.len() as u64 + 1;
    for word in [120, 0, 0, len, len, 1] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(path);
    elf.push(0);
    elf
}

/// The kernel lets a user namespace mount a procfs or sysfs where its mount namespace has one that nothing covers, in
/// sight or not: the host's must not be there.
fn no_pivot_leaves_nothing_of_the_host(t: &Context) -> Outcome {
    t.needs_root()?;
    const NEWUSER_NEWNS_NEWPID_NEWNET: &str = "1879179264";
    let mounts = ["mount", "proc", "/proc", "proc", "--", "mount", "sysfs", "/sys", "sysfs"];
    let args = [&["unshare", NEWUSER_NEWNS_NEWPID_NEWNET, "--", "child", "--"][..], &mounts[..]].concat();
    let bare = t.bundle().args(&args).with("/linux/maskedPaths", json!([])).with("/linux/readonlyPaths", json!([]));
    let bare = bare.with("/mounts/0/options", json!([])).with("/mounts/5/options", json!([]));
    assert_eq!(bare.config()["mounts"][5]["destination"], "/sys");
    // Where the container's own are bare, they may be mounted again.
    t.run(&bare).ok();
    fs::remove_dir_all(bare.path()).expect("it is ours");
    for users in [false, true] {
        for options in [&[][..], &["--no-pivot"]] {
            let mut bundle = t.bundle().args(&args);
            if users {
                let ids = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
                bundle = bundle.with("/linux/namespaces/-", json!({"type": "user"}));
                bundle = bundle.with("/linux/uidMappings", ids.clone()).with("/linux/gidMappings", ids);
            }
            let id = t.id(&format!("c{users}{}", options.len()));
            let args = [&["run", "--bundle", bundle.path()], options, &[&*id]].concat();
            let done = t.orlop(&args).end().exits(1);
            assert_eq!(done.stdout(), "mount /proc: EPERM\nmount /sys: EPERM\n", "{users} {options:?}");
            fs::remove_dir_all(bundle.path()).expect("it is ours");
        }
    }
    Ok(())
}
