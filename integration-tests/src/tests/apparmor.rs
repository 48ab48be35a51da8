//! AppArmor profiles, where the kernel has it: each test loads one of its own.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::context::{Context, Skip};
use crate::tests::{Outcome, tests};

tests! { "apparmor":
    APPARMOR { profile_is_applied, executed_process_has_the_profile, profile_that_is_not_loaded }
}

/// A profile that is loaded for as long as it lives.
struct Profile {
    text: String,
    name: String,
}

fn parser(option: &str, text: &str) -> Option<bool> {
    let mut parser = Command::new("apparmor_parser");
    let parser = parser.args([option, "--skip-cache", "--quiet"]).stdin(Stdio::piped()).spawn();
    let mut parser = parser.ok()?;
    std::io::Write::write_all(&mut parser.stdin.take()?, text.as_bytes()).ok()?;
    Some(parser.wait().ok()?.success())
}

impl Profile {
    /// Allows everything but to read /etc/group.
    fn load(t: &Context) -> Result<Profile, Skip> {
        available(t)?;
        let name = format!("{}-profile", t.tag());
        let text = format!(
            "profile {name} flags=(attach_disconnected) {{\n file,\n capability,\n signal,\n unix,\n network,\n \
             deny /etc/group r,\n}}\n"
        );
        match parser("--add", &text) {
            Some(true) => Ok(Profile { text, name }),
            Some(false) => panic!("apparmor_parser refuses {text}"),
            None => Err(Skip("no apparmor_parser".into())),
        }
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parser("--remove", &self.text);
    }
}

fn available(t: &Context) -> Result<(), Skip> {
    t.needs_root()?;
    let enabled = fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|enabled| enabled.starts_with('Y')) { Ok(()) } else { Err(Skip("no AppArmor".into())) }
}

/// With and without no_new_privs, which forbids new rights and not this.
fn profile_is_applied(t: &Context) -> Outcome {
    let profile = Profile::load(t)?;
    for no_new_privileges in [true, false] {
        let bundle = t.bundle().with("/process/apparmorProfile", json!(profile.name));
        let bundle = bundle.with("/process/noNewPrivileges", json!(no_new_privileges));
        let done = t.run(&bundle.args(&["cat", "/proc/self/attr/apparmor/current", "--", "cat", "/etc/group"]));
        let out = done.exits(1).stdout();
        assert!(out.contains(&format!("{} (enforce)", profile.name)), "{out}");
        assert!(out.contains("EACCES"), "{out}");
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    Ok(())
}

fn executed_process_has_the_profile(t: &Context) -> Outcome {
    let profile = Profile::load(t)?;
    let id = t.id("c");
    t.detach(&t.bundle().args(&["sleep", "600"]), &id);
    let cat = ["/bin/probe", "cat", "/proc/self/attr/apparmor/current"];
    let args = [&["exec", "--apparmor", &profile.name, &id], &cat[..]].concat();
    t.orlop(&args).end().ok().prints(&[&format!("{} (enforce)", profile.name)]);
    t.delete(&id);
    Ok(())
}

fn profile_that_is_not_loaded(t: &Context) -> Outcome {
    available(t)?;
    let bundle = t.bundle().with("/process/apparmorProfile", json!("no-such-profile"));
    t.run(&bundle).fails_with("AppArmor profile \"no-such-profile\" is not loaded");
    Ok(())
}
