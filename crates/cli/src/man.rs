//! Manual pages in man(7)'s language, from the table.

use core::fmt::Write as _;

use liballoc::format;
use liballoc::string::String;

use crate::command::Program;
use crate::help::{ABOUT, TITLE, VERSION, shown, spellings};
use crate::table::{COMMANDS, CommandSpec, GLOBAL, Opt};

/// Escapes what roff would take for its own: backslashes, dashes, and a line's first dot or quote.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

fn options(text: &mut String, options: &'static [Opt], program: Program) {
    for opt in shown(options, program) {
        text.push_str(".TP\n");
        for (i, name) in spellings(opt).enumerate() {
            let between = if i > 0 { ", " } else { "" };
            let _ = write!(text, "{between}\\fB{}\\fR", escape(&name));
            if opt.takes_argument() {
                let _ = write!(text, " \\fI{}\\fR", escape(opt.placeholder));
            }
        }
        let _ = write!(text, "\n{}.\n", escape(opt.help));
    }
}

/// The page of a command, or of the program.
pub fn page(program: Program, topic: Option<&'static CommandSpec>) -> String {
    let name = program.name();
    let mut text = String::new();
    match topic {
        None => {
            let upper = name.to_ascii_uppercase();
            let _ = write!(
                text,
                ".TH {upper} 8 \"\" \"{name} {VERSION}\" \"System administration\"\n.SH NAME\n{name} \\- {TITLE}\n.SH SYNOPSIS\n.B {name}\n[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIcommand options\\fR] [\\fIarguments\\fR...]\n.SH DESCRIPTION\n{}\n.SH COMMANDS\n",
                escape(ABOUT)
            );
            for command in COMMANDS.iter().filter(|command| !command.hidden) {
                let _ = write!(
                    text,
                    ".TP\n\\fB{}\\fR\n{}. See \\fB{name}\\-{}\\fR(8).\n",
                    command.name,
                    escape(command.about),
                    command.name
                );
            }
            text.push_str(".SH GLOBAL OPTIONS\n");
            options(&mut text, GLOBAL, program);
        }
        Some(command) => {
            let title = format!("{name}-{}", command.name).to_ascii_uppercase();
            let _ = write!(
                text,
                ".TH {} 8 \"\" \"{name} {VERSION}\" \"System administration\"\n.SH NAME\n{name}\\-{} \\- {}\n.SH SYNOPSIS\n.B {name} {}\n[\\fIoptions\\fR] {}\n",
                escape(&title),
                command.name,
                escape(command.about),
                command.name,
                escape(command.arguments)
            );
            if !command.description.is_empty() {
                let _ = write!(text, ".SH DESCRIPTION\n{}\n", escape(command.description));
            }
            text.push_str(".SH OPTIONS\n");
            options(&mut text, command.options, program);
            let _ = write!(text, ".SH SEE ALSO\n.BR {name} (8)\n");
        }
    }
    text
}
