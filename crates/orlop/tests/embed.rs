//! The example `embed`, on a bundle of its own: the library leaves its caller as it found it.

#[path = "../examples/embed.rs"]
#[allow(unreachable_pub)] // a program of its own, elsewhere
mod embed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The demo's configuration with another program; the root file system holds the probe alone.
fn bundle(directory: &Path, args: &[&str]) {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    for folder in ["bin", "dev", "proc", "sys", "tmp"] {
        fs::create_dir_all(directory.join("rootfs").join(folder)).unwrap();
    }
    let built = Command::new(fixtures.join("probe/build")).arg(directory.join("rootfs/bin/probe")).status().unwrap();
    assert!(built.success());
    let text = fs::read_to_string(fixtures.join("bundles/demo/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["process"]["args"] = serde_json::json!(args);
    if env::var_os(INSIDE).is_some() {
        let own = serde_json::json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        let linux = config["linux"].as_object_mut().unwrap();
        linux.get_mut("namespaces").unwrap().as_array_mut().unwrap().push(serde_json::json!({"type": "user"}));
        linux.insert("uidMappings".into(), own.clone());
        linux.insert("gidMappings".into(), own);
        linux.remove("resources");
    }
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
}

/// One test: another's threads and descriptors would be seen.
#[test]
#[allow(clippy::print_stderr)] // why a test did not run
fn the_program_stays_as_it_was() {
    if orlop_sys::credentials::euid() != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    if env::var_os(INSIDE).is_some() {
        return exec_leaves_its_thread_where_it_was();
    }
    ten_containers_from_eight_threads();
    exec_leaves_its_thread_where_it_was();
    exec_of_root_of_a_user_namespace();
}

/// Set where this program runs once more, as root of a user namespace.
const INSIDE: &str = "ORLOP_TEST_INSIDE";

/// It has no right in its own pid namespace, and so could not get back there.
fn exec_of_root_of_a_user_namespace() {
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user"]).arg(env::current_exe().unwrap()).args(["--nocapture"]);
    let done = again.env(INSIDE, "1").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn ten_containers_from_eight_threads() {
    let scratch = env::temp_dir().join(format!("orlop-embed-test-{}", std::process::id()));
    bundle(&scratch.join("bundle"), &["/bin/probe", "exit", "7"]);
    // The harness's own threads come and go before this point.
    let before = embed::surroundings();
    let ended = embed::run(&scratch.join("state"), &scratch.join("bundle")).unwrap();
    let after = embed::surroundings();
    assert_eq!(embed::differences(&before, &after), "");
    let codes: Vec<_> = ended.iter().map(|status| status.code()).collect();
    assert_eq!(codes, [Some(7); 10]);
    assert_eq!(fs::read_dir(scratch.join("state")).unwrap().count(), 0, "state is left");
    fs::remove_dir_all(&scratch).unwrap();
}

/// A further process is born in the container's pid namespace, which the calling thread joins for that moment.
fn exec_leaves_its_thread_where_it_was() {
    let scratch = env::temp_dir().join(format!("orlop-exec-test-{}", std::process::id()));
    bundle(&scratch.join("bundle"), &["/bin/probe", "sleep", "60"]);
    let runtime = orlop::Runtime::at(scratch.join("state")).unwrap();
    let id = format!("exec-thread-{}", std::process::id());
    let loaded = orlop::Bundle::load(scratch.join("bundle")).unwrap();
    let mut running = runtime.run(&id, &loaded, &orlop::CreateOptions::default()).unwrap();
    let container = runtime.container(&id).unwrap();
    let before = embed::surroundings();
    let command = orlop::plan::exec::Command { args: vec![b"/bin/probe", b"exit", b"3"], ..Default::default() };
    let program = orlop::plan::exec::Program::Command(&command);
    let mut executed = container.exec(program, &orlop::ExecOptions::default()).unwrap();
    assert_eq!(executed.wait().unwrap().code(), 3);
    drop(executed);
    assert_eq!(embed::differences(&before, &embed::surroundings()), "");
    running.signal(9).unwrap();
    // An error where it was killed before its program began.
    let _ended = running.wait();
    running.delete().unwrap();
    fs::remove_dir_all(&scratch).unwrap();
}
