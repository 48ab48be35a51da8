//! The one definition of every option and command. The parser, the help, the manual pages and the shell
//! completions are made from it; a new option is one row here and one field in [`crate::command`].

mod commands;

pub use commands::COMMANDS;

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Nothing, or `=true` and `=false`.
    Flag,
    /// Any text.
    Text,
    /// A path.
    Path,
    /// A whole number from the first to the second bound.
    Number(i64, i64),
    /// Bytes with an optional unit such as `512m`, or -1 for no limit.
    Size,
    /// A time such as `1m30s`.
    Duration,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// Whether a second use of an option adds to the first or replaces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uses {
    /// The last one counts.
    Last,
    /// All count.
    All,
}

/// One option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opt {
    /// Its name, without dashes.
    pub long: &'static str,
    /// Other long names.
    pub aliases: &'static [&'static str],
    /// Its letters.
    pub shorts: &'static [char],
    /// What it takes.
    pub value: Value,
    /// What its argument is called in the help.
    pub placeholder: &'static str,
    /// Whether it may be given more than once.
    pub uses: Uses,
    /// Whether the help leaves it out.
    pub hidden: bool,
    /// Whether a binary named `runc` refuses it, as runc does. Only for what clients probe for by that name.
    pub not_as_runc: bool,
    /// One sentence, without a full stop.
    pub help: &'static str,
}

impl Opt {
    const fn new(long: &'static str, value: Value, placeholder: &'static str, help: &'static str) -> Opt {
        Opt {
            long,
            aliases: &[],
            shorts: &[],
            value,
            placeholder,
            uses: Uses::Last,
            hidden: false,
            not_as_runc: false,
            help,
        }
    }

    const fn flag(long: &'static str, help: &'static str) -> Opt {
        Opt::new(long, Value::Flag, "", help)
    }

    const fn text(long: &'static str, placeholder: &'static str, help: &'static str) -> Opt {
        Opt::new(long, Value::Text, placeholder, help)
    }

    const fn path(long: &'static str, placeholder: &'static str, help: &'static str) -> Opt {
        Opt::new(long, Value::Path, placeholder, help)
    }

    const fn number(long: &'static str, least: i64, most: i64, help: &'static str) -> Opt {
        Opt::new(long, Value::Number(least, most), "N", help)
    }

    const fn size(long: &'static str, help: &'static str) -> Opt {
        Opt::new(long, Value::Size, "BYTES", help)
    }

    const fn choice(long: &'static str, of: &'static [&'static str], help: &'static str) -> Opt {
        Opt::new(long, Value::Choice(of), "WORD", help)
    }

    const fn short(mut self, shorts: &'static [char]) -> Opt {
        self.shorts = shorts;
        self
    }

    const fn alias(mut self, aliases: &'static [&'static str]) -> Opt {
        self.aliases = aliases;
        self
    }

    const fn all(mut self) -> Opt {
        self.uses = Uses::All;
        self
    }

    const fn hidden(mut self) -> Opt {
        self.hidden = true;
        self
    }

    const fn not_as_runc(mut self) -> Opt {
        self.not_as_runc = true;
        self
    }

    /// Whether the option takes an argument of its own.
    pub fn takes_argument(&self) -> bool {
        self.value != Value::Flag
    }

    /// Whether `name`, without its dashes, is one of the option's names.
    pub fn is_called(&self, name: &[u8]) -> bool {
        let letter = match name {
            [letter] => Some(char::from(*letter)),
            _ => None,
        };
        name == self.long.as_bytes()
            || self.aliases.iter().any(|alias| name == alias.as_bytes())
            || letter.is_some_and(|letter| self.shorts.contains(&letter))
    }
}

/// Where a command's options end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Options {
    /// At `--` only: they may follow the container id.
    Anywhere,
    /// At the first argument: what follows belongs to somebody else.
    BeforeArguments,
}

/// One command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandSpec {
    /// Its name.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// Its arguments as the help shows them.
    pub arguments: &'static str,
    /// Paragraphs for its own help.
    pub description: &'static str,
    /// How many arguments it needs and takes.
    pub count: (usize, Option<usize>),
    /// Where options may stand.
    pub order: Options,
    /// Its options.
    pub options: &'static [Opt],
    /// Whether the list of commands leaves it out.
    pub hidden: bool,
}

/// The command called `name`.
pub fn command(name: &[u8]) -> Option<&'static CommandSpec> {
    COMMANDS.iter().find(|command| command.name.as_bytes() == name)
}

/// `help`, which every command has.
pub const HELP: Opt = Opt::flag("help", "show this help and exit").short(&['h']);

/// The words of `--format` where text and JSON are possible.
const TEXT_JSON: &[&str] = &["text", "json"];

/// The options that stand before the command, and may stand after it where it has none of the same name.
pub const GLOBAL: &[Opt] = &[
    Opt::flag("debug", "log what is done, as --log-level debug does"),
    Opt::path("log", "FILE", "append log records to FILE, or send them to journald:ID or syslog:ID (default: stderr)"),
    Opt::choice("log-format", TEXT_JSON, "write log records as text (default) or json"),
    Opt::choice(
        "log-level",
        &["error", "warning", "info", "debug"],
        "leave out log records below this level (default: info)",
    ),
    Opt::path(
        "root",
        "DIR",
        "keep the state of containers in DIR, best on a tmpfs (default: /run/orlop, or $XDG_RUNTIME_DIR/orlop when not root)",
    ),
    Opt::flag("systemd-cgroup", "let systemd make the cgroups; cgroupsPath is then slice:prefix:name"),
    Opt::choice(
        "cgroup-manager",
        &["cgroupfs", "systemd", "disabled"],
        "who makes the cgroups: cgroupfs (default), systemd, or disabled for nobody",
    )
    .not_as_runc(),
    Opt::text("rootless", "true|false|auto", "whether to put up with a lack of permission for cgroups (default: auto)"),
    Opt::path("criu", "PATH", "the criu binary for checkpoint and restore (default: criu, looked up in $PATH)"),
    Opt::path("trace", "FILE", "write the time of every step to FILE, one JSON object a line"),
    HELP,
    Opt::flag("version", "print the version and exit").short(&['v', 'V']),
];
