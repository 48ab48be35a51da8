//! `lint`: says what is wrong with a bundle's configuration, all of it.

use liballoc::format;
use liballoc::string::{String, ToString};

use orlop::lint::{self, Severity};

use crate::command::{Lint, LogFormat};
use crate::options::{bundle, options_of_a_plan, runtime};
use crate::run::{Context, Outcome, print};

/// Ends with 1 where an error is among the findings.
pub(crate) fn lint(context: &Context<'_>, options: &Lint<'_>) -> Outcome {
    let how = options_of_a_plan(context)?;
    let bundle = bundle(options.bundle, options.config)?;
    let findings = runtime(context).lint("linted", &bundle, &how)?;
    let file = match (options.config, options.bundle) {
        (Some(config), _) => config.to_string_lossy().to_string(),
        (None, Some(bundle)) => format!("{}/config.json", bundle.to_string_lossy()),
        (None, None) => String::from("config.json"),
    };
    print(&match options.format {
        LogFormat::Text => lint::text(&file, &findings),
        LogFormat::Json => lint::json(&findings),
    })?;
    Ok(i32::from(findings.iter().any(|finding| finding.severity == Severity::Error)))
}
