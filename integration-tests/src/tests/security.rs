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
        cve_2024_21626_cwd, cve_2025_54867_proc_is_a_link, cve_2023_27561_sys_is_a_link,
        mount_target_link_stays_inside, masked_link_stays_inside, state_is_private,
        volume_on_proc_is_refused,
    }
    ROOT {
        cve_2016_3697_numeric_user, cve_2026_41579_dev_is_a_link, cve_2024_40635_uid,
        forbidden_device, state_of_a_created_one_is_not_readable, ambient_without_inheritable,
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
    for entry in fs::read_dir(format!("/proc/{}/fd", t.pid(&id))).expect("it waits") {
        let target = fs::read_link(entry.expect("it waits").path()).unwrap_or_default();
        assert!(!["/etc/passwd", "/", "/etc"].iter().any(|leaked| target.as_os_str() == *leaked));
    }
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

fn cve_2023_27561_sys_is_a_link(t: &Context) -> Outcome {
    assert!(linked_top(t, "sys").contains("/sys"));
    Ok(())
}

/// Whatever becomes of it, nothing is made or mounted outside.
fn cve_2026_41579_dev_is_a_link(t: &Context) -> Outcome {
    t.needs_root()?;
    for target in [t.dir().join("outside").to_string_lossy().into_owned(), "../../outside".into()] {
        let bundle = t.bundle().with("/root/readonly", json!(false)).args(&["true"]);
        let outside = t.dir().join("outside");
        fs::create_dir(&outside).expect("writable");
        fs::remove_dir(bundle.rootfs("dev")).expect("it is ours");
        symlink(&target, bundle.rootfs("dev")).expect("writable");
        t.run(&bundle);
        assert_eq!(fs::read_dir(&outside).expect("it is ours").count(), 0, "{target}");
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

/// Buildah's configurations: nothing is inheritable, so nothing can be ambient, and the container runs all the same.
fn ambient_without_inheritable(t: &Context) -> Outcome {
    t.needs_root()?;
    let mut bundle = t.bundle().args(&["caps"]);
    for set in ["bounding", "effective", "permitted", "ambient"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(["CAP_CHOWN", "CAP_KILL"]));
    }
    let bundle = bundle.with("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    let done = t.run(&bundle).ok();
    assert_eq!(done.value("CapAmb"), "0000000000000020");
    assert_eq!(done.value("CapEff"), "0000000000000021");
    assert_eq!(done.stderr() + &done.log(), "");
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
