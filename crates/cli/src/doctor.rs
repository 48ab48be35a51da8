//! `doctor`: prints what crashed runtimes left, and removes it with `--fix`.

use liballoc::format;
use liballoc::string::{String, ToString};

use crate::command::{self, Level};
use crate::log::Failure;
use crate::options::runtime;
use crate::run::{Context, Outcome, print};

/// Ends with 1 where something is left.
pub(crate) fn doctor(context: &Context<'_>, options: &command::Doctor) -> Outcome {
    let runtime = runtime(context);
    let findings = runtime.findings()?;
    let mut text = String::new();
    let mut left = 0;
    for finding in &findings {
        let removed = options.fix.then(|| runtime.remove(finding));
        let verdict = match &removed {
            None => "found",
            Some(Ok(())) => "removed",
            Some(Err(_)) => "not removed",
        };
        text += &format!("{}: {verdict}: {}\n", finding.id, finding.what);
        if let Some(Err(error)) = removed {
            context.log.note(Level::Warning, error.to_string());
        }
        left += usize::from(verdict != "removed");
    }
    print(&text)?;
    match (left, options.fix) {
        (0, _) => Ok(0),
        (n, false) => Err(Failure::new(format!("{n} left behind; `doctor --fix` removes what is listed"))),
        (n, true) => Err(Failure::new(format!("{n} could not be removed"))),
    }
}
