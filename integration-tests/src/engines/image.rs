//! The image that all engines run: a static busybox and the probe, as an archive that is written on the spot.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::bundle::PROBE;
use crate::context::Skip;
use crate::engines::tool;

/// The image's name, with which no engine asks a registry.
pub const NAME: &str = "localhost/box:latest";

/// Writes the root file system `DIR/rootfs`.
pub fn root_file_system(dir: &Path) -> Result<PathBuf, Skip> {
    let root = dir.join("rootfs");
    for folder in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(root.join(folder)).expect("the test's folder is writable");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let busybox = tool("busybox")?;
    fs::copy(&busybox, root.join("bin/busybox")).expect("it can be read");
    let applets = Command::new(&busybox).arg("--list").output().expect("busybox can be executed").stdout;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).expect("it is new");
    }
    let file = |path: &str, content: &[u8], mode| {
        fs::write(root.join(path), content).expect("the test's folder is writable");
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    file("bin/probe", PROBE, 0o755);
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n", 0o644);
    file("etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n", 0o644);
    file("etc/plain", b"not a program\n", 0o644);
    Ok(root)
}

/// Writes the image as `DIR/box.tar`, in the form of `docker save`, which every engine reads.
pub fn archive(dir: &Path) -> Result<PathBuf, Skip> {
    let root = root_file_system(dir)?;
    let parts = dir.join("parts");
    fs::create_dir_all(&parts).expect("the test's folder is writable");
    pack(&parts.join("layer.tar"), &root);
    let config = json!({
        "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(&parts.join("layer.tar")))] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "the tests" }],
    });
    fs::write(parts.join("config"), config.to_string()).expect("the test's folder is writable");
    let name = format!("{}.json", digest(&parts.join("config")));
    fs::rename(parts.join("config"), parts.join(&name)).expect("the test's folder is writable");
    let manifest = json!([{ "Config": name, "RepoTags": [NAME], "Layers": ["layer.tar"] }]);
    fs::write(parts.join("manifest.json"), manifest.to_string()).expect("the test's folder is writable");
    let archive = dir.join("box.tar");
    pack(&archive, &parts);
    fs::remove_dir_all(&parts).expect("it is ours");
    Ok(archive)
}

fn pack(archive: &Path, folder: &Path) {
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--sort=name", "-cf"]).arg(archive);
    let status = tar.arg("-C").arg(folder).arg(".").status().expect("tar can be executed");
    assert!(status.success(), "tar failed");
}

fn digest(file: &Path) -> String {
    let sum = Command::new("sha256sum").arg(file).output().expect("sha256sum can be executed").stdout;
    String::from_utf8_lossy(&sum).split_whitespace().next().expect("the sum is the first word").to_owned()
}
