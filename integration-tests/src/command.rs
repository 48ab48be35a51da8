//! The binary under test, as a caller runs it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use std::os::unix::process::ExitStatusExt;

use serde_json::Value;

use crate::context::Context;
use crate::terminal::Terminal;

/// One call, not started yet.
pub struct Orlop {
    command: Command,
    files: Files,
}

/// Output goes to files, not pipes: a container that lives on would hold a pipe open.
#[derive(Clone)]
struct Files {
    line: String,
    stdout: PathBuf,
    stderr: PathBuf,
    log: PathBuf,
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

impl Orlop {
    pub fn new(context: &Context, args: &[&str]) -> Orlop {
        let mut orlop = Orlop::bare(context, &[]);
        orlop.command.arg("--root").arg(context.dir().join("root"));
        orlop.command.arg("--log").arg(&orlop.files.log).args(["--log-format", "json"]);
        orlop.command.args(context.global()).args(args);
        orlop.files.line = args.join(" ");
        orlop
    }

    /// Without `--root` and `--log`.
    pub fn bare(context: &Context, args: &[&str]) -> Orlop {
        let mut orlop = Orlop::program(context, context.binary(), args);
        orlop.files.line = args.join(" ");
        orlop
    }

    /// Another program, with the same surroundings.
    pub fn program(context: &Context, program: &Path, args: &[&str]) -> Orlop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let file = |kind| context.dir().join(format!("{call}.{kind}"));
        let line = format!("{} {}", program.display(), args.join(" "));
        let files = Files { line, stdout: file("out"), stderr: file("err"), log: file("log") };
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        command.args(args).current_dir(context.dir()).stdin(Stdio::null()).env_clear();
        command.env("PATH", path).env("TMPDIR", context.dir().join("tmp"));
        for name in ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Orlop { command, files }
    }

    pub fn env(mut self, name: &str, value: &str) -> Orlop {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, dir: &str) -> Orlop {
        self.command.current_dir(dir);
        self
    }

    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Orlop {
        self.command.stdin(stdin);
        self
    }

    /// Runs it as the arguments of a bash script, which ends in `exec "$@"`: for descriptors,
    /// signal masks and the like.
    pub fn through_bash(mut self, script: &str) -> Orlop {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(script).arg("bash").arg(self.command.get_program());
        bash.args(self.command.get_args()).stdin(Stdio::null()).env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                bash.env(name, value);
            }
        }
        if let Some(dir) = self.command.get_current_dir() {
            bash.current_dir(dir);
        }
        self.command = bash;
        self
    }

    /// Starts it as a shell does in a window: with a session and the terminal for all three streams.
    pub fn start_in_terminal(self) -> (Running, Terminal) {
        let (terminal, peer) = Terminal::open();
        let mut setsid = Command::new("setsid");
        setsid.arg("--ctty").arg(self.command.get_program()).args(self.command.get_args()).env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                setsid.env(name, value);
            }
        }
        let stream = || File::from(peer.try_clone().expect("a descriptor is left"));
        setsid.current_dir(self.command.get_current_dir().expect("it was set"));
        setsid.stdin(stream()).stdout(stream()).stderr(stream());
        let child = setsid.spawn().expect("setsid of util-linux is there");
        (Running { child, files: self.files }, terminal)
    }

    pub fn start(mut self) -> Running {
        let create = |path| File::create(path).expect("the test's folder is writable");
        self.command.stdout(create(&self.files.stdout)).stderr(create(&self.files.stderr));
        let child = self.command.spawn().expect("the binary can be executed");
        Running { child, files: self.files }
    }

    /// Runs it to its end.
    pub fn end(self) -> Done {
        self.start().end()
    }
}

/// A call that is under way.
pub struct Running {
    child: Child,
    files: Files,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// What it has printed so far.
    pub fn output(&self) -> Done {
        Done { status: ExitStatus::default(), files: self.files.clone() }
    }

    pub fn end(mut self) -> Done {
        let status = self.child.wait().expect("it is our child");
        Done { status, files: self.files }
    }
}

/// A call that has ended. Its output is read anew each time: a container may go on writing.
pub struct Done {
    status: ExitStatus,
    files: Files,
}

impl Done {
    pub fn stdout(&self) -> String {
        read(&self.files.stdout)
    }

    pub fn stderr(&self) -> String {
        read(&self.files.stderr)
    }

    pub fn log(&self) -> String {
        read(&self.files.log)
    }

    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }

    fn all(&self) -> String {
        let (line, code) = (&self.files.line, self.code());
        format!("`{line}` ended with {code}\nstdout: {}\nstderr: {}", self.stdout(), self.stderr())
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Done {
        assert!(self.code() == code, "wanted status {code}, but {}", self.all());
        self
    }

    #[track_caller]
    pub fn ok(self) -> Done {
        self.exits(0)
    }

    /// It failed with that text, on stderr and as the one error of its log.
    #[track_caller]
    pub fn fails_with(self, text: &str) -> Done {
        assert!(self.code() > 0, "wanted a failure, but {}", self.all());
        assert!(self.stderr().contains(text), "wanted {text:?} on stderr, but {}", self.all());
        let log = self.log();
        let records: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {log}"))).collect();
        let errors: Vec<&Value> = records.iter().filter(|r| r["level"] == "error").collect();
        assert!(errors.len() == 1, "wanted one error in the log, but it is {log:?}");
        let message = errors[0]["msg"].as_str().unwrap_or_default();
        assert!(message.contains(text), "wanted {text:?} in the log, but it is {log}");
        let time = errors[0]["time"].as_str().unwrap_or_default();
        assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "not RFC 3339: {time:?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let text = self.stdout();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// The value of the probe's line `KEY: VALUE`.
    #[track_caller]
    pub fn value(&self, key: &str) -> String {
        self.values(key).into_iter().next().unwrap_or_else(|| panic!("no {key}: {}", self.all()))
    }

    pub fn values(&self, key: &str) -> Vec<String> {
        let line = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned());
        self.stdout().lines().filter_map(line).collect()
    }

    /// The output is exactly those lines.
    #[track_caller]
    pub fn prints(&self, lines: &[&str]) -> &Done {
        let text = self.stdout();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{}", self.all());
        self
    }
}

fn read(path: &PathBuf) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
