//! Splits a command line by the table: which options were given with which text, and the arguments.
//!
//! Options are spelled as runc's: `--root X`, `--root=X`, `-root X`, `-root=X`; letters may be joined. A flag
//! takes `=true` or `=false`. `--` ends the options, and so does something like `-1`.

use core::ffi::CStr;

use liballoc::format;
use liballoc::string::String;
use liballoc::vec::Vec;

use crate::table::{GLOBAL, HELP, Opt, Options, Uses, Value};
use crate::value::{self, Reason, boolean};

/// What was given: options in order, and arguments.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// Each option with its text; a flag may have none.
    options: Vec<(&'static Opt, Option<&'a CStr>)>,
    /// The arguments.
    pub arguments: Vec<&'a CStr>,
}

/// How a command line is read.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The options that it may hold.
    pub own: &'static [Opt],
    /// Whether [`GLOBAL`] ones are understood too.
    pub global: bool,
    /// Whether the program is called `runc`.
    pub as_runc: bool,
    /// Where options end.
    pub order: Options,
}

impl Rules {
    /// The option called `name`, and whether it is a global one met after the command.
    fn find(&self, name: &[u8]) -> Option<(&'static Opt, bool)> {
        let among = |options: &'static [Opt]| {
            options.iter().find(|opt| opt.is_called(name) && !(self.as_runc && opt.not_as_runc))
        };
        let inherited = || {
            // The program's letters, -h and -v, are its own.
            let long = self.global && name.len() > 1;
            among(GLOBAL).filter(|opt| long && opt.long != "version")
        };
        among(self.own).map(|opt| (opt, false)).or_else(|| inherited().map(|opt| (opt, true)))
    }
}

/// What an argument that begins with a dash is.
struct Dashed<'a> {
    name: &'a [u8],
    text: Option<&'a CStr>,
}

/// Takes `--name=text` apart; `None` for what is no option.
fn dashed(argument: &CStr) -> Option<Dashed<'_>> {
    let bytes = argument.to_bytes_with_nul();
    let name = match bytes {
        [b'-', b'-', ..] => bytes.get(2..)?,
        [b'-', letter, ..] if letter.is_ascii_alphabetic() => bytes.get(1..)?,
        _ => return None,
    };
    let end = name.iter().position(|byte| matches!(byte, b'=' | 0))?;
    let (name, rest) = name.split_at(end);
    let text = match rest {
        [b'=', text @ ..] => Some(CStr::from_bytes_with_nul(text).ok()?),
        _ => None,
    };
    Some(Dashed { name, text })
}

/// Why a command line was refused, and whether help was asked for before that was noticed.
#[derive(Debug)]
pub struct Wrong {
    /// The reason.
    pub message: String,
    /// Whether `--help` was among the options.
    pub help: bool,
}

/// Reads `arguments` into `given`, and global options met after the command into `global`.
pub fn read<'a>(
    arguments: &[&'a CStr],
    rules: Rules,
    given: &mut Given<'a>,
    mut global: Option<&mut Given<'a>>,
) -> Result<(), Wrong> {
    let mut left = arguments.iter().copied();
    while let Some(argument) = left.next() {
        if argument == c"--" {
            given.arguments.extend(left);
            break;
        }
        if argument.is_empty() || argument == c"-" || !argument.to_bytes().starts_with(b"-") {
            given.arguments.push(argument);
            if rules.order == Options::BeforeArguments {
                given.arguments.extend(left);
                break;
            }
            continue;
        }
        let Some(Dashed { name, text }) = dashed(argument) else {
            given.arguments.push(argument);
            given.arguments.extend(left);
            break;
        };
        let wrong = |given: &Given<'_>, message: String| Wrong { message, help: given.flag("help").unwrap_or(false) };
        let found = match rules.find(name) {
            None if argument.to_bytes().starts_with(b"--") => None,
            None => joined(name, rules, given),
            found => found,
        };
        let Some((opt, inherited)) = found else {
            let name = String::from_utf8_lossy(name);
            return Err(wrong(given, format!("flag provided but not defined: -{name}")));
        };
        let text = match text {
            None if opt.takes_argument() => match left.next() {
                None => {
                    let argument = argument.to_string_lossy();
                    return Err(wrong(given, format!("flag needs an argument: {argument}")));
                }
                text => text,
            },
            text => text,
        };
        match (&mut global, inherited) {
            (Some(global), true) => global.options.push((opt, text)),
            _ => given.options.push((opt, text)),
        }
    }
    Ok(())
}

/// Joined letters such as `-dt`: notes all but the last, which must be flags, and gives the last one.
fn joined(name: &[u8], rules: Rules, given: &mut Given<'_>) -> Option<(&'static Opt, bool)> {
    let (last, first) = name.split_last()?;
    let mut flags = Vec::new();
    for letter in first {
        let (opt, _) = rules.find(&[*letter])?;
        if opt.takes_argument() {
            return None;
        }
        flags.push((opt, None));
    }
    let found = rules.find(&[*last])?;
    given.options.extend(flags);
    Some(found)
}

/// Says which option's text was refused, as runc does.
fn invalid(opt: &Opt, text: &CStr, reason: &str) -> String {
    format!("invalid value {:?} for flag -{}: {reason}", text.to_string_lossy(), opt.long)
}

impl<'a> Given<'a> {
    /// Every text given for an option, in order.
    fn texts(&self, long: &str) -> impl Iterator<Item = (&'static Opt, Option<&'a CStr>)> {
        self.options.iter().copied().filter(move |(opt, _)| opt.long == long)
    }

    fn last(&self, long: &str) -> Option<(&'static Opt, &'a CStr)> {
        self.texts(long).last().map(|(opt, text)| (opt, text.unwrap_or_default()))
    }

    /// The options given, by their long names, in order.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &'static str> {
        self.options.iter().map(|(opt, _)| opt.long)
    }

    /// A flag, or `None` if it was not given.
    pub fn set(&self, long: &str) -> Result<Option<bool>, String> {
        let Some((opt, text)) = self.last(long) else {
            return Ok(None);
        };
        // `--flag=` counts as true, as runc has it.
        let value = match text.to_bytes() {
            b"" => Some(true),
            _ => text.to_str().ok().and_then(boolean),
        };
        value.map(Some).ok_or_else(|| invalid(opt, text, "parse error"))
    }

    /// A flag; false if it was not given.
    pub fn flag(&self, long: &str) -> Result<bool, String> {
        self.set(long).map(|set| set.unwrap_or(false))
    }

    /// A path or a text that need not be UTF-8. An empty one counts as none, as runc has it.
    pub fn raw(&self, long: &str) -> Option<&'a CStr> {
        self.last(long).map(|(_, text)| text).filter(|text| !text.is_empty())
    }

    /// A text; an empty one counts as none.
    pub fn text(&self, long: &str) -> Result<Option<&'a str>, String> {
        match self.last(long) {
            Some((opt, text)) => utf8(opt, text).map(|text| Some(text).filter(|text| !text.is_empty())),
            None => Ok(None),
        }
    }

    /// Every text of an option that may be given more than once.
    pub fn all(&self, long: &str) -> Vec<&'a CStr> {
        self.texts(long)
            .filter_map(|(opt, text)| {
                debug_assert_eq!(opt.uses, Uses::All);
                text
            })
            .collect()
    }

    /// As [`Given::all`], each turned into something.
    pub fn each<T>(&self, long: &str, convert: impl Fn(&'a str) -> Result<T, Reason>) -> Result<Vec<T>, String> {
        self.texts(long)
            .map(|(opt, text)| {
                let text = text.unwrap_or_default();
                utf8(opt, text).and_then(|value| convert(value).map_err(|why| invalid(opt, text, why)))
            })
            .collect()
    }

    /// A text turned into something.
    pub fn convert<T>(
        &self,
        long: &str,
        convert: impl FnOnce(&'a str) -> Result<T, Reason>,
    ) -> Result<Option<T>, String> {
        match self.last(long) {
            Some((opt, text)) => {
                utf8(opt, text).and_then(|value| convert(value).map_err(|why| invalid(opt, text, why))).map(Some)
            }
            None => Ok(None),
        }
    }

    /// A number within the bounds of the table.
    pub fn number(&self, long: &str) -> Result<Option<i64>, String> {
        let Some((opt, _)) = self.last(long) else {
            return Ok(None);
        };
        let Value::Number(least, most) = opt.value else {
            return Err(format!("-{long} is no number"));
        };
        self.convert(long, |text| value::number(text, least, most))
    }

    /// The place of a word among those that the table allows.
    pub fn choice<T: Copy>(&self, long: &str, values: &[(&str, T)]) -> Result<Option<T>, String> {
        match self.last(long) {
            Some((_, text)) if text.is_empty() => Ok(None),
            Some((opt, text)) => values
                .iter()
                .find(|(word, _)| text.to_bytes() == word.as_bytes())
                .map(|(_, value)| Some(*value))
                .ok_or_else(|| {
                    let words: Vec<&str> = values.iter().map(|(word, _)| *word).collect();
                    invalid(opt, text, &format!("must be one of {}", words.join(", ")))
                }),
            None => Ok(None),
        }
    }

    /// Whether help was asked for.
    pub fn help(&self) -> Result<bool, String> {
        self.flag(HELP.long)
    }
}

fn utf8<'a>(opt: &Opt, text: &'a CStr) -> Result<&'a str, String> {
    text.to_str().map_err(|_| invalid(opt, text, "not UTF-8"))
}

/// An argument that must be text.
pub fn argument<'a>(argument: &'a CStr, what: &str) -> Result<&'a str, String> {
    argument.to_str().map_err(|_| format!("{what} is not UTF-8: {}", argument.to_string_lossy()))
}
