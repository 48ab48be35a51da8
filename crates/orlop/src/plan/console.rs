//! The terminal: whether there is one, who gets its master, and where it stands in the container.

use alloc::format;

use orlop_init::step::{Newlines, Step};

use super::{Origin, Phase, Planner, invalid, slot};
use crate::error::{Error, Kind, Result};

/// Who gets the master of a container's terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Console {
    /// Nobody: a process that asks for a terminal is refused.
    #[default]
    Nobody,
    /// Whoever listens at a socket.
    Socket,
    /// The caller, whose own terminal has this size; 0 where it has none.
    Caller {
        /// Lines.
        rows: u16,
        /// Columns.
        columns: u16,
    },
}

const ORIGIN: Origin = Origin::field("/process/terminal");

impl Planner<'_> {
    /// Whether the process has a terminal. In runc's words where nobody would hold its master, or nobody gets one.
    pub(super) fn has_terminal(&self) -> Result<bool> {
        let terminal = self.config.process.as_ref().is_some_and(|process| process.terminal);
        match (terminal, self.options.console) {
            (true, Console::Nobody) => {
                let what = "cannot allocate tty if runc will detach without setting console socket";
                Err(Error::new(Kind::InvalidConfig, what).field("/process/terminal"))
            }
            (false, Console::Socket) => {
                let what = "cannot use console socket if runc will not detach or allocate tty";
                Err(Error::new(Kind::InvalidConfig, what))
            }
            _ => Ok(terminal),
        }
    }

    /// The file that the terminal will cover, while the root can be written to.
    pub(super) fn console_target(&mut self) -> Result<()> {
        let has_terminal = self.has_terminal();
        if self.sound(has_terminal)? == Some(true) {
            let path = self.strings.text(b"/dev/console");
            self.init(Phase::Devices, ORIGIN, Step::File { root: slot::ROOT, path, out: slot::CONSOLE_FILE });
        }
        Ok(())
    }

    /// In the root, for it is the container's own devpts that the terminal comes from.
    pub(super) fn console(&mut self) -> Result<()> {
        let terminal = self.terminal();
        if self.sound(terminal)? == Some(true) {
            let bind = Step::BindFile { from: slot::CONSOLE, target: slot::CONSOLE_FILE };
            self.init(Phase::Root, ORIGIN, bind);
            self.init(Phase::Root, ORIGIN, Step::Close { slot: slot::CONSOLE_FILE });
            self.init(Phase::Root, ORIGIN, Step::Close { slot: slot::CONSOLE });
        }
        Ok(())
    }

    /// The terminal itself, left in its slot. Whether there is one.
    pub(super) fn terminal(&mut self) -> Result<bool> {
        if !self.has_terminal()? {
            return Ok(false);
        }
        let config = self.config;
        let Some(process) = &config.process else { return Ok(false) };
        let origin = Origin::field("/process/consoleSize");
        let number = |n: u64| u16::try_from(n).map_err(|_| invalid(format!("{n} is no size of a terminal"), origin));
        let (rows, columns) = match (process.console_size, self.options.console) {
            // A relay's terminal has the size that it has.
            (_, Console::Caller { rows, columns }) if rows != 0 && columns != 0 => (rows, columns),
            (Some(size), _) => (number(size.height)?, number(size.width)?),
            (None, _) => (0, 0),
        };
        let newlines = match self.options.console {
            Console::Caller { .. } => Newlines::Plain,
            _ => Newlines::Both,
        };
        let step = Step::Console {
            socket: slot::CONSOLE_SOCKET,
            rows: rows.into(),
            columns: columns.into(),
            uid: process.user.uid,
            newlines,
            out: slot::CONSOLE,
        };
        self.init(Phase::Root, ORIGIN, step);
        Ok(true)
    }
}
