//! A bundle: the default configuration of the binary itself, and a root file system of the probe.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::context::Context;

pub const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe"));

pub struct Bundle {
    path: String,
    config: Value,
}

impl Bundle {
    pub fn new(context: &Context, name: &str) -> Bundle {
        let dir = context.dir().join(name);
        let root = dir.join("rootfs");
        for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
            fs::create_dir_all(root.join(folder)).expect("the test's folder is writable");
        }
        let path = dir.to_str().expect("a plain path").to_owned();
        let bundle = Bundle { path, config: Value::Null };
        bundle.file("bin/probe", PROBE, 0o755);
        bundle.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/var:/bin/sh\n", 0o644);
        bundle.file("etc/group", b"root:x:0:\nuser:x:1000:\n", 0o644);
        for name in ["true", "sleep"] {
            symlink("probe", root.join("bin").join(name)).expect("it is new");
        }
        let mut spec = vec!["spec"];
        if context.host.uid != 0 {
            spec.push("--rootless");
        }
        context.bare_orlop(&spec).current_dir(&bundle.path).end().ok();
        let text = fs::read_to_string(dir.join("config.json")).expect("spec writes config.json");
        let config = serde_json::from_str(&text).expect("config.json is JSON");
        let mut bundle = Bundle { config, ..bundle };
        bundle.set("/process/terminal", json!(false));
        bundle.args(&["true"])
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// A path of the container, as the host sees it.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        Path::new(&self.path).join("rootfs").join(path)
    }

    /// Writes a file of the root file system.
    pub fn file(&self, path: &str, content: &[u8], mode: u32) {
        let path = self.rootfs(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("writable");
        fs::write(&path, content).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    /// The probe's commands: `["id", "--", "caps"]`.
    pub fn args(self, args: &[&str]) -> Bundle {
        let words: Vec<&str> = std::iter::once("/bin/probe").chain(args.iter().copied()).collect();
        self.with("/process/args", json!(words))
    }

    pub fn with(mut self, pointer: &str, value: Value) -> Bundle {
        self.set(pointer, value);
        self
    }

    /// Sets what the JSON pointer names and writes config.json. Missing objects are made; `-` at
    /// the end of the pointer appends to an array, which is made too.
    pub fn set(&mut self, pointer: &str, value: Value) {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            at = match (key, key.parse::<usize>()) {
                ("-", _) => {
                    if !at.is_array() {
                        *at = json!([]);
                    }
                    let list = at.as_array_mut().expect("it was just made");
                    list.push(Value::Null);
                    list.last_mut().expect("it was just pushed")
                }
                (_, Ok(index)) if at.is_array() => &mut at[index],
                _ => {
                    if !at.is_object() {
                        *at = json!({});
                    }
                    &mut at[key]
                }
            };
        }
        *at = value;
        self.write();
    }

    pub fn remove(mut self, pointer: &str) -> Bundle {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        let parent = self.config.pointer_mut(parent).expect("it is there");
        match parent {
            Value::Array(list) => {
                list.remove(key.parse().expect("an index"));
            }
            Value::Object(map) => {
                map.shift_remove(key);
            }
            _ => panic!("{pointer} is in neither object nor array"),
        }
        self.write();
        self
    }

    /// Keeps the entries of an array that `keep` wants.
    pub fn retain(mut self, pointer: &str, keep: impl Fn(&Value) -> bool) -> Bundle {
        let list = self.config.pointer_mut(pointer).and_then(Value::as_array_mut);
        list.expect("an array").retain(|value| keep(value));
        self.write();
        self
    }

    pub fn config(&self) -> &Value {
        &self.config
    }

    fn write(&self) {
        let text = serde_json::to_string_pretty(&self.config).expect("a value can be written");
        fs::write(Path::new(&self.path).join("config.json"), text).expect("writable");
    }
}
