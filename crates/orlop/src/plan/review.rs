//! Planning that goes on behind a fault, to list them all.

use alloc::vec::Vec;

use super::{Options, Planner, Warning};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;

/// All that [`plan`] has to say of a configuration, where it stops at the first fault.
pub(crate) struct Review {
    /// What a plan fails with.
    pub(crate) faults: Vec<Error>,
    /// What it tells the caller.
    pub(crate) warnings: Vec<Warning>,
    /// The cgroup's plan, as far as it goes.
    pub(crate) cgroup: orlop_cgroup::Plan,
}

/// Plans for the faults only: each is listed, and the planner goes on behind it.
pub(crate) fn review(config: &Config<'_>, host: &Host, options: &Options<'_>) -> Review {
    let mut planner = Planner::new(config, host, options, (128, 8192));
    planner.faults = Some(Vec::new());
    let done = planner.whole();
    let mut faults = planner.faults.unwrap_or_default();
    let cgroup = match done {
        Ok((cgroup, ..)) => cgroup,
        Err(error) => {
            faults.push(error);
            orlop_cgroup::Plan::default()
        }
    };
    Review { faults, warnings: planner.warnings, cgroup }
}

impl Planner<'_> {
    /// The cgroup, and whose limits they are.
    pub(super) fn cgroup(&mut self) -> Result<orlop_cgroup::Plan> {
        if self.faults.is_none() {
            return crate::cgroup::plan(self.config, self.host, self.options);
        }
        let (cgroup, faults) = crate::cgroup::review(self.config, self.host, self.options);
        faults.into_iter().try_for_each(|fault| self.fault(fault))?;
        Ok(cgroup)
    }

    /// A fault of the configuration: the end of the plan, or one more of the list that is asked for.
    pub(crate) fn fault(&mut self, error: Error) -> Result<()> {
        match &mut self.faults {
            None => Err(error),
            Some(faults) => {
                faults.push(error);
                Ok(())
            }
        }
    }

    /// What was checked, unless it had a fault that is listed.
    pub(crate) fn sound<T>(&mut self, checked: Result<T>) -> Result<Option<T>> {
        match checked {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.fault(error).map(|()| None),
        }
    }
}
