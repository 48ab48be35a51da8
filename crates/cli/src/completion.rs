//! Shell completions, from the table.

use core::fmt::Write as _;

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use crate::command::{Program, Shell};
use crate::help::{shown, spellings};
use crate::table::{COMMANDS, CommandSpec, GLOBAL, Opt, Value};

/// The completions of a shell for the program by the name it was called by.
pub fn script(shell: Shell, program: Program) -> String {
    match shell {
        Shell::Bash => bash(program),
        Shell::Zsh => zsh(program),
        Shell::Fish => fish(program),
    }
}

/// The commands that a shell offers.
fn commands() -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS.iter().filter(|command| !command.hidden)
}

/// What the first argument of a command is.
#[derive(PartialEq)]
enum Argument {
    Container,
    Command,
    Words(&'static str),
    None,
}

fn argument(command: &CommandSpec) -> Argument {
    match command.name {
        // The id is a new one.
        "create" | "run" | "restore" => Argument::None,
        "help" => Argument::Command,
        "mounts" => Argument::Words("add remove"),
        _ if command.count.1 == Some(0) => Argument::None,
        _ => Argument::Container,
    }
}

fn join(words: impl Iterator<Item = String>, between: &str) -> String {
    words.collect::<Vec<_>>().join(between)
}

/// Every spelling of every option for which `which` is true.
fn all(options: &'static [Opt], program: Program, which: impl Fn(&Opt) -> bool) -> Vec<String> {
    shown(options, program).filter(|opt| which(opt)).flat_map(spellings).collect()
}

fn bash(program: Program) -> String {
    let name = program.name();
    let mut text = format!(
        "# bash completion for {name}\n_{name}() {{\n    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}}\n    local command= i words=\n    COMPREPLY=()\n"
    );
    let with_argument = all(GLOBAL, program, Opt::takes_argument).join("|");
    let _ = write!(
        text,
        "    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${{COMP_WORDS[i]}} in\n            {with_argument}) ((i++)) ;;\n            -*) ;;\n            *) command=${{COMP_WORDS[i]}}; break ;;\n        esac\n    done\n    case $command in\n"
    );
    let mut arm = |pattern: &str, options: &'static [Opt], words: &str| {
        let _ = write!(text, "        {pattern})\n            case $prev in\n");
        for opt in shown(options, program).filter(|opt| opt.takes_argument()) {
            let pattern = join(spellings(opt), "|");
            let _ = match opt.value {
                Value::Path => {
                    writeln!(text, "                {pattern}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;")
                }
                Value::Choice(of) => writeln!(
                    text,
                    "                {pattern}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;",
                    of.join(" ")
                ),
                _ => writeln!(text, "                {pattern}) return ;;"),
            };
        }
        let options = all(options, program, |_| true).join(" ");
        let _ = write!(
            text,
            "            esac\n            if [[ $cur == -* ]]; then\n                words='{options}'\n            else\n                words={words}\n            fi\n            ;;\n"
        );
    };
    let names = join(commands().map(|command| command.name.into()), " ");
    arm("''", GLOBAL, &format!("'{names}'"));
    for command in commands() {
        let words = match argument(command) {
            Argument::Container => format!("$({name} list -q 2>/dev/null)"),
            Argument::Command => format!("'{names}'"),
            Argument::Words(words) => format!("'{words}'"),
            Argument::None => "''".into(),
        };
        arm(command.name, command.options, &words);
    }
    let _ = write!(
        text,
        "    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}}\ncomplete -F _{name} {name}\n"
    );
    text
}

/// Quotes for a single-quoted shell word.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// One option for zsh's `_arguments`.
fn zsh_option(opt: &Opt) -> String {
    let about = quoted(opt.help).replace('[', "(").replace(']', ")").replace(':', "\\:");
    let value = match opt.value {
        Value::Flag => String::new(),
        Value::Path => format!(":{}:_files", opt.placeholder),
        Value::Choice(of) => format!(":word:({})", of.join(" ")),
        _ => format!(":{}:", opt.placeholder.replace(':', "\\:").replace(['[', ']'], "")),
    };
    let names: Vec<String> = spellings(opt).collect();
    match names.as_slice() {
        [one] => format!("'*{one}[{about}]{value}'"),
        many => format!("'*'{{{}}}'[{about}]{value}'", many.join(",")),
    }
}

fn zsh(program: Program) -> String {
    let name = program.name();
    let mut text = format!(
        "#compdef {name}\n_{name}_containers() {{\n    compadd -- ${{(f)\"$({name} list -q 2>/dev/null)\"}}\n}}\n_{name}_commands() {{\n    local -a commands=(\n"
    );
    for command in commands() {
        let _ = writeln!(text, "        '{}:{}'", command.name, quoted(command.about));
    }
    let _ = write!(
        text,
        "    )\n    _describe command commands\n}}\n_{name}() {{\n    local context state line\n    local -A opt_args\n    _arguments -C"
    );
    for opt in shown(GLOBAL, program) {
        let _ = write!(text, " \\\n        {}", zsh_option(opt));
    }
    let _ = write!(
        text,
        " \\\n        '1:command:_{name}_commands' \\\n        '*::argument:->rest'\n    [[ $state == rest ]] || return\n    case $line[1] in\n"
    );
    for command in commands() {
        let _ = write!(text, "        {})\n            _arguments", command.name);
        for opt in shown(command.options, program) {
            let _ = write!(text, " \\\n                {}", zsh_option(opt));
        }
        let _ = match argument(command) {
            Argument::Container => write!(text, " \\\n                '1:container:_{name}_containers'"),
            Argument::Command => write!(text, " \\\n                '1:command:_{name}_commands'"),
            Argument::Words(words) => write!(text, " \\\n                '1:word:({words})'"),
            Argument::None => Ok(()),
        };
        text.push_str("\n            ;;\n");
    }
    let _ = write!(text, "    esac\n}}\n_{name} \"$@\"\n");
    text
}

fn fish(program: Program) -> String {
    let name = program.name();
    let names = join(commands().map(|command| command.name.into()), " ");
    let mut text = format!("# fish completion for {name}\ncomplete -c {name} -f\n");
    let mut option = |condition: &str, opt: &Opt| {
        let _ = write!(text, "complete -c {name} -n '{condition}'");
        for name in core::iter::once(&opt.long).chain(opt.aliases) {
            let _ = write!(text, " -l {name}");
        }
        for letter in opt.shorts {
            let _ = write!(text, " -s {letter}");
        }
        let _ = match opt.value {
            Value::Flag => Ok(()),
            Value::Path => write!(text, " -r -F"),
            Value::Choice(of) => write!(text, " -x -a '{}'", of.join(" ")),
            _ => write!(text, " -x"),
        };
        let _ = writeln!(text, " -d '{}'", opt.help.replace('\'', "\\'"));
    };
    let none = format!("not __fish_seen_subcommand_from {names}");
    for opt in shown(GLOBAL, program) {
        option(&none, opt);
    }
    for command in commands() {
        let seen = format!("__fish_seen_subcommand_from {}", command.name);
        for opt in shown(command.options, program) {
            option(&seen, opt);
        }
    }
    for command in commands() {
        let about = command.about.replace('\'', "\\'");
        let _ = writeln!(text, "complete -c {name} -n '{none}' -a {} -d '{about}'", command.name);
        let seen = format!("__fish_seen_subcommand_from {}", command.name);
        let words = match argument(command) {
            Argument::Container => format!("({name} list -q 2>/dev/null)"),
            Argument::Command => names.clone(),
            Argument::Words(words) => words.into(),
            Argument::None => continue,
        };
        let _ = writeln!(text, "complete -c {name} -n '{seen}' -a '{words}'");
    }
    text
}
