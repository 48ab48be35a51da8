//! `--help` and `--version`, from the table. The layout is runc's, which scripts and its tests look at.

use core::fmt::Write as _;

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use crate::command::Program;
use crate::table::{COMMANDS, CommandSpec, GLOBAL, Opt};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from.
pub const COMMIT: &str = env!("ORLOP_COMMIT");
/// The version of the runtime specification that it follows.
pub const SPEC: &str = "1.3.0";

/// What the program is, in one line: runc's own words, which its tests look for.
pub const TITLE: &str = "Open Container Initiative runtime";

/// What the program does.
pub const ABOUT: &str = "Runs containers as the OCI runtime specification describes them. A container is made \
    of a bundle: a directory with a config.json and a root file system. `spec` writes a config.json to start \
    from, `run` creates a container, starts it and waits for it.";

/// How far text goes to the right.
const WIDTH: usize = 100;

/// What `--version` prints. Engines read the first three lines, and split every line that holds the word
/// "version": only the first one may.
pub fn version(program: Program) -> String {
    format!(
        "{} version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC}\nbuild: {} {}\n",
        program.name(),
        core::env!("ORLOP_TARGET"),
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}

/// What `--help` prints for a command, or for the program.
pub fn help(program: Program, topic: Option<&CommandSpec>) -> String {
    let name = program.name();
    match topic {
        None => {
            let mut text = format!("NAME:\n   {name} - {TITLE}\n\n");
            text.push_str(&wrapped(ABOUT, 3));
            text.push_str(&format!(
                "\nUSAGE:\n   {name} [global options] command [command options] [arguments...]\n\nVERSION:\n   {VERSION}\n\nCOMMANDS:\n"
            ));
            let visible = COMMANDS.iter().filter(|command| !command.hidden);
            text.push_str(&columns(visible.map(|command| (command.name.into(), command.about))));
            text.push_str("\nGLOBAL OPTIONS:\n");
            text.push_str(&options(GLOBAL, program));
            text
        }
        Some(command) => {
            let mut text = format!("NAME:\n   {name} {} - {}\n", command.name, command.about);
            text.push_str(&format!("\nUSAGE:\n   {name} {} [options]", command.name));
            if !command.arguments.is_empty() {
                text.push(' ');
                text.push_str(command.arguments);
            }
            text.push('\n');
            if !command.description.is_empty() {
                text.push_str("\nDESCRIPTION:\n");
                text.push_str(&wrapped(command.description, 3));
            }
            text.push_str("\nOPTIONS:\n");
            text.push_str(&options(command.options, program));
            text
        }
    }
}

fn options(options: &'static [Opt], program: Program) -> String {
    columns(shown(options, program).map(|opt| (names(opt), opt.help)))
}

/// The options that a help shows.
pub fn shown(options: &'static [Opt], program: Program) -> impl Iterator<Item = &'static Opt> {
    let as_runc = program == Program::Runc;
    options.iter().filter(move |opt| !(opt.hidden || as_runc && opt.not_as_runc))
}

/// `--bundle DIR, -b DIR`.
fn names(opt: &Opt) -> String {
    let mut text = String::new();
    for (i, name) in spellings(opt).enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(&name);
        if opt.takes_argument() {
            text.push(' ');
            text.push_str(opt.placeholder);
        }
    }
    text
}

/// `--bundle`, `-b`: every name of an option with its dashes.
pub fn spellings(opt: &Opt) -> impl Iterator<Item = String> {
    let long = core::iter::once(&opt.long).chain(opt.aliases);
    let long = long.map(|name| format!("--{name}"));
    long.chain(opt.shorts.iter().map(|letter| format!("-{letter}")))
}

/// Names to the left, what they mean to the right.
fn columns(rows: impl Iterator<Item = (String, &'static str)>) -> String {
    const WIDEST: usize = 34;
    let rows: Vec<(String, &str)> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).min(WIDEST);
    let indent = 3 + width + 2;
    let mut text = String::new();
    for (name, about) in rows {
        let about = wrapped(about, indent);
        if name.len() > width {
            let _ = write!(text, "   {name}\n{about}"); // a String takes everything
        } else {
            let _ = write!(text, "   {name:width$}  {}", about.trim_start());
        }
    }
    text
}

/// Breaks a paragraph into lines, each `indent` to the right.
fn wrapped(paragraph: &str, indent: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.extend(core::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push('\n');
    text
}
