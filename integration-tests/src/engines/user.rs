//! An ordinary user, known to nobody outside of the test.

use std::fs;

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::context::Context;

pub const USER: u32 = 54_321;
pub const NAME: &str = "tester";

/// The first of the user's subordinate ids.
pub const FIRST: u32 = 200_000;

/// Who there is, and who has which subordinate ids.
const FILES: [&str; 4] = ["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];

/// The user is in the files of this mount namespace only, with 65,536 subordinate ids or none.
pub fn become_known(t: &Context, subordinate: bool) {
    let home = t.dir().join("home");
    fs::create_dir_all(&home).expect("the test's folder is writable");
    let ids = if subordinate { format!("{NAME}:{FIRST}:65536\n") } else { "nobody:1:1\n".to_owned() };
    let with = |file: &str, line: String| fs::read_to_string(file).unwrap_or_default() + &line;
    let texts = [
        with(FILES[0], format!("{NAME}:x:{USER}:{USER}::{}:/bin/sh\n", home.display())),
        with(FILES[1], format!("{NAME}:x:{USER}:\n")),
        ids.clone(),
        ids,
    ];
    for (file, text) in FILES.iter().zip(texts) {
        let own = t.dir().join(file.rsplit('/').next().expect("it has a name"));
        fs::write(&own, text).expect("the test's folder is writable");
        mount_bind(&own, *file).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// The files are the host's again.
pub fn forget() {
    for file in FILES {
        unmount(file, UnmountFlags::DETACH).expect("it was mounted");
    }
}
