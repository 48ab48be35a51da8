//! Every command with its options.

use super::{CommandSpec, HELP, Opt, Options, TEXT_JSON};

const BUNDLE: Opt = Opt::path("bundle", "DIR", "the bundle (default: the working directory)").short(&['b']);
const CONFIG: Opt = Opt::path("config", "FILE", "read FILE instead of the bundle's config.json").short(&['f']);
const CONSOLE_SOCKET: Opt =
    Opt::path("console-socket", "SOCKET", "send the terminal's master to the unix socket at this path");
const PIDFD_SOCKET: Opt =
    Opt::path("pidfd-socket", "SOCKET", "send a pidfd of the container's process to the unix socket at this path");
const PID_FILE: Opt = Opt::path("pid-file", "FILE", "write the process id to FILE");
const NO_PIVOT: Opt =
    Opt::flag("no-pivot", "move the root file system over / instead of using pivot_root, for a root on a ramdisk");
const NO_NEW_KEYRING: Opt =
    Opt::flag("no-new-keyring", "keep the caller's session keyring instead of making a new one");
/// Descriptors are numbered by a positive `int`, and the first three are taken.
const PRESERVE_FDS: Opt = Opt::number(
    "preserve-fds",
    0,
    i32::MAX as i64 - 3,
    "hand N descriptors on to the container, counted from 3 and after those of $LISTEN_FDS",
);
const DETACH: Opt = Opt::flag("detach", "do not wait for the container's process").short(&['d']);
const NO_SUBREAPER: Opt = Opt::flag("no-subreaper", "do not adopt the orphans of the container while waiting for it");
const REGEX: Opt =
    Opt::flag("regex", "the argument is a regular expression; every container whose id matches is meant").short(&['r']);

const IMAGE_PATH: Opt = Opt::path("image-path", "DIR", "where criu's images are (default: ./checkpoint)");
const WORK_PATH: Opt = Opt::path("work-path", "DIR", "where criu's log and work files go");
const TCP_ESTABLISHED: Opt = Opt::flag("tcp-established", "allow established TCP connections");
const EXT_UNIX_SK: Opt = Opt::flag("ext-unix-sk", "allow unix sockets that are connected to the outside");
const SHELL_JOB: Opt = Opt::flag("shell-job", "allow a container that uses the terminal of a shell");
const LAZY_PAGES: Opt = Opt::flag("lazy-pages", "bring memory pages over on demand, with userfaultfd");
const FILE_LOCKS: Opt = Opt::flag("file-locks", "handle file locks");
const MANAGE_CGROUPS: Opt = Opt::choice(
    "manage-cgroups-mode",
    &["soft", "full", "strict", "ignore"],
    "how criu handles cgroups (default: soft)",
);
const EMPTY_NS: Opt = Opt::new(
    "empty-ns",
    super::Value::Choice(&["network"]),
    "NAMESPACE",
    "make the namespace, but do not restore what is in it",
)
.all();
const AUTO_DEDUP: Opt = Opt::flag("auto-dedup", "drop memory pages from older images as newer ones have them");
const NETWORK_LOCK: Opt = Opt::choice("network-lock", &["iptables", "nftables", "skip"], "how criu locks the network");

const ID: &str = "<container-id>";
const ONE: (usize, Option<usize>) = (1, Some(1));
const NONE: (usize, Option<usize>) = (0, Some(0));

const fn command(name: &'static str, about: &'static str, options: &'static [Opt]) -> CommandSpec {
    CommandSpec {
        name,
        about,
        arguments: ID,
        description: "",
        count: ONE,
        order: Options::Anywhere,
        options,
        hidden: false,
    }
}

impl CommandSpec {
    const fn takes(mut self, arguments: &'static str, count: (usize, Option<usize>)) -> CommandSpec {
        self.arguments = arguments;
        self.count = count;
        self
    }

    const fn options_first(mut self) -> CommandSpec {
        self.order = Options::BeforeArguments;
        self
    }

    const fn says(mut self, description: &'static str) -> CommandSpec {
        self.description = description;
        self
    }

    const fn hidden(mut self) -> CommandSpec {
        self.hidden = true;
        self
    }
}

/// Every command.
pub const COMMANDS: &[CommandSpec] = &[
    command(
        "checkpoint",
        "save a running container to images",
        &[
            IMAGE_PATH,
            WORK_PATH,
            Opt::path("parent-path", "DIR", "the images of an earlier pre-dump, relative to the image path"),
            Opt::flag("leave-running", "let the container run on"),
            TCP_ESTABLISHED,
            Opt::flag("tcp-skip-in-flight", "leave out TCP connections that are still being set up"),
            Opt::flag("link-remap", "link unlinked files back where possible"),
            EXT_UNIX_SK,
            SHELL_JOB,
            LAZY_PAGES,
            Opt::number(
                "status-fd",
                -1,
                i32::MAX as i64,
                "criu writes a NUL to descriptor N when the lazy page server is ready",
            ),
            Opt::text("page-server", "ADDRESS:PORT", "send memory pages to a page server"),
            FILE_LOCKS,
            Opt::flag("pre-dump", "save memory only, and let the container run on"),
            MANAGE_CGROUPS,
            EMPTY_NS,
            AUTO_DEDUP,
            NETWORK_LOCK,
            HELP,
        ],
    )
    .says("Saves the processes of a running container with criu, and ends them unless told otherwise."),
    command(
        "create",
        "create a container",
        &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            PID_FILE,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
            HELP,
        ],
    )
    .says(
        "Makes a container of a bundle: a directory with a config.json and a root file system. The \
         container's process is set up completely and waits; `start` lets it execute the program that \
         process.args names. Later changes of config.json change nothing. The id must be unique on this host.",
    ),
    command(
        "delete",
        "delete a container and what it holds",
        &[
            Opt::flag("force", "kill the container if it still runs; succeed if there is none").short(&['f']),
            REGEX,
            HELP,
        ],
    ),
    command(
        "events",
        "show statistics and out-of-memory events of a container",
        &[
            Opt::new(
                "interval",
                super::Value::Duration,
                "TIME",
                "the time between two statistics (default: 5s)",
            ),
            Opt::flag("stats", "show the statistics once"),
            HELP,
        ],
    )
    .says("Prints one JSON object a line until the container ends."),
    command(
        "exec",
        "execute a program in a running container",
        &[
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            Opt::path("cwd", "DIR", "the working directory in the container"),
            Opt::text("env", "NAME=VALUE", "add an environment variable").short(&['e']).all(),
            Opt::flag("tty", "give the process a terminal").short(&['t']),
            Opt::text("user", "UID[:GID]", "the user, and the group").short(&['u']),
            Opt::new(
                "additional-gids",
                super::Value::Number(0, u32::MAX as i64 - 1),
                "GID",
                "add a supplementary group",
            )
            .short(&['g'])
            .all(),
            Opt::path("process", "FILE", "take the process from a JSON file").short(&['p']),
            DETACH,
            PID_FILE,
            Opt::text("process-label", "LABEL", "the SELinux label of the process"),
            Opt::text("apparmor", "PROFILE", "the AppArmor profile of the process"),
            Opt::flag("no-new-privs", "let the process gain no privileges by execve"),
            Opt::text("cap", "CAPABILITY", "add a capability").short(&['c']).all(),
            PRESERVE_FDS,
            Opt::text(
                "cgroup",
                "[CONTROLLER,...:]PATH",
                "put the process into an existing cgroup below the container's",
            )
            .all(),
            Opt::flag("ignore-paused", "execute in a paused container too"),
            HELP,
        ],
    )
    .takes("<container-id> <program> [argument...] | -p FILE <container-id>", (1, None))
    .options_first()
    .says(
        "Ends with the program's exit status, with 128 and a signal's number if that killed it, and with 255 \
         if the program could not be executed.",
    ),
    command("explain", "print every step that a container's start takes", &[
        BUNDLE,
        CONFIG,
        Opt::choice("format", TEXT_JSON, "print text (default) or json"),
        HELP,
    ])
    .takes("", NONE)
    .says("Plans the start of a container from the bundle, and changes nothing."),
    command("features", "show what this runtime supports, as JSON", &[HELP]).takes("", NONE),
    command("info", "show what this host offers to containers", &[HELP]).takes("", NONE),
    command(
        "kill",
        "send a signal to a container's process",
        &[
            Opt::flag("all", "send it to every process of the container; no error if none is left")
                .short(&['a']),
            REGEX,
            HELP,
        ],
    )
    .takes("<container-id> [signal]", (1, Some(2)))
    .options_first()
    .says("The signal is a number or a name, with or without SIG, such as 9, KILL, SIGKILL or RTMIN+3. Default: TERM."),
    command("lint", "say what is wrong with a bundle's configuration", &[
        BUNDLE,
        CONFIG,
        Opt::choice("format", TEXT_JSON, "print text (default) or json"),
        HELP,
    ])
    .takes("", NONE)
    .says(
        "Prints every error that `create` would end with on this host, and what the configuration asks for without \
         effect, each with its place. Ends with 1 where there is an error, and changes nothing.",
    ),
    command(
        "list",
        "list the containers",
        &[
            Opt::choice("format", &["table", "json"], "print a table (default) or json").short(&['f']),
            Opt::flag("quiet", "print the ids only").short(&['q']),
            HELP,
        ],
    )
    .takes("", NONE)
    .says("Lists the containers whose state is in the directory of the global option --root."),
    command("mounts", "add mounts to a running container, or remove them", &[HELP])
        .takes("<add|remove> <container-id> <mounts.json>", (3, Some(3)))
        .says("The file holds an array of mounts as config.json has them."),
    command("pause", "stop all processes of a container", &[HELP]),
    command(
        "ps",
        "show the processes of a container",
        &[
            Opt::choice("format", &["table", "json"], "print a table (default) or json").short(&['f']),
            HELP,
        ],
    )
    .takes("<container-id> [ps options]", (1, None))
    .options_first()
    .says("The table is made by the host's ps; what follows the id is passed on to it (default: -ef)."),
    command(
        "restore",
        "start a container from the images of a checkpoint",
        &[
            CONSOLE_SOCKET,
            IMAGE_PATH,
            WORK_PATH,
            TCP_ESTABLISHED,
            Opt::flag("tcp-close", "restore TCP connections as closed"),
            EXT_UNIX_SK,
            SHELL_JOB,
            FILE_LOCKS,
            MANAGE_CGROUPS,
            BUNDLE,
            DETACH,
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            EMPTY_NS,
            AUTO_DEDUP,
            LAZY_PAGES,
            NETWORK_LOCK,
            Opt::text("lsm-profile", "TYPE:NAME", "the security profile to restore under"),
            Opt::text("lsm-mount-context", "CONTEXT", "the SELinux mount context to restore under"),
            HELP,
        ],
    ),
    command("resume", "let all processes of a paused container go on", &[HELP]),
    command(
        "run",
        "create a container and start it",
        &[
            BUNDLE,
            CONFIG,
            CONSOLE_SOCKET,
            PIDFD_SOCKET,
            DETACH,
            Opt::flag("keep", "keep the container after its process has ended"),
            PID_FILE,
            NO_SUBREAPER,
            NO_PIVOT,
            NO_NEW_KEYRING,
            PRESERVE_FDS,
            HELP,
        ],
    )
    .says(
        "Makes a container of a bundle, starts it, waits for it and deletes it. Ends with the exit status of \
         the container's process, or with 128 and a signal's number if that killed it.",
    ),
    command(
        "spec",
        "write a config.json to start from",
        &[
            Opt::path("bundle", "DIR", "the directory to write to (default: the working directory)").short(&['b']),
            Opt::path("config", "FILE", "the name of the file (default: config.json)")
                .short(&['f'])
                .alias(&["file"]),
            Opt::flag("rootless", "write one that an unprivileged user can run"),
            HELP,
        ],
    )
    .takes("", NONE)
    .says("Writes a config.json that runs sh in the directory rootfs. A file that exists is left alone."),
    command("start", "execute the program of a created container", &[HELP])
        .says("Fails if a startContainer hook or the program's execve fails."),
    command("state", "show the state of a container, as JSON", &[HELP]),
    command("update", "change the limits of a container", &[
        Opt::path("resources", "FILE", "read a JSON object like config.json's linux.resources from FILE or, if it is -, from stdin; the other options are then left aside")
            .short(&['r']),
        Opt::number("blkio-weight", 0, 1000, "weight for block devices, from 10 to 1000"),
        Opt::number("cpu-period", 0, i64::MAX, "length of a period, in microseconds"),
        Opt::number("cpu-quota", -1, i64::MAX, "processor time in a period, in microseconds"),
        Opt::number("cpu-burst", 0, i64::MAX, "processor time that may be saved up, in microseconds"),
        Opt::number("cpu-share", 0, i64::MAX, "weight against other containers"),
        Opt::number("cpu-rt-period", 0, i64::MAX, "length of a realtime period, in microseconds"),
        Opt::number("cpu-rt-runtime", -1, i64::MAX, "realtime processor time in a period, in microseconds"),
        Opt::number("cpu-idle", 0, 1, "1 to run only when nothing else does"),
        Opt::text("cpuset-cpus", "LIST", "processors to use, such as 0-3,5"),
        Opt::text("cpuset-mems", "LIST", "memory nodes to use"),
        Opt::size("kernel-memory", "obsolete: has no effect").hidden(),
        Opt::size("kernel-memory-tcp", "obsolete: has no effect").hidden(),
        Opt::size("memory", "memory limit; -1 for none"),
        Opt::size("memory-reservation", "memory to keep when memory is short"),
        Opt::size("memory-swap", "limit of memory and swap together; -1 for none"),
        Opt::number("pids-limit", -1, i64::MAX, "number of processes; -1 for no limit"),
        Opt::text("l3-cache-schema", "SCHEMA", "Intel RDT schema for the L3 cache"),
        Opt::text("mem-bw-schema", "SCHEMA", "Intel RDT schema for memory bandwidth"),
        HELP,
    ])
    .says("What is not named stays as it is."),
    command("wait", "wait for a container's process to end, and print its exit status", &[HELP]),
    command("doctor", "find what crashed runtimes and engines left behind", &[
        Opt::flag("fix", "remove it"),
        HELP,
    ])
    .takes("", NONE),
    command("help", "show the help of a command", &[HELP]).takes("[command]", (0, Some(1))),
    command("version", "print the version", &[HELP]).takes("", NONE).hidden(),
    command("completion", "print the completions of a shell", &[HELP]).takes("<bash|zsh|fish>", ONE).hidden(),
    command("man", "print the manual page of the program or of a command", &[HELP])
        .takes("[command]", (0, Some(1)))
        .hidden(),
];
