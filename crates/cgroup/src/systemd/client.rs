//! What is asked of systemd: scopes started, changed and stopped, each until the job is done.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use orlop_sys::process::Pid;
use orlop_sys::time::{Clock, Timespec, now, sleep};
use orlop_sys::{BorrowedFd, credentials};

use super::bus::{Bus, Connection, Ended, MANAGER, OBJECT, SYSTEMD, job_end};
use super::wire::{Call, Kind, Message, Reply, Value, Writer};
use super::{Property, Scope, Unknown};
use crate::error::Error;
use crate::group::Group;
use crate::plan::Plan;

/// As long as runc waits for a job; for an answer it waits without end, as others may be before us.
const PATIENCE: i64 = 30_000_000_000;
const PATIENCE_WITH_OTHERS: i64 = 120_000_000_000;

/// A connection to systemd.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

const fn call(member: &'static str, signature: &'static str) -> Call<'static> {
    Call { destination: SYSTEMD, path: OBJECT, interface: MANAGER, member, signature, fds: 0, reply: Reply::Wanted }
}

fn deadline() -> i64 {
    now(Clock::Monotonic).as_nanos() + PATIENCE_WITH_OTHERS
}

/// A refusal, in systemd's words.
fn refusal(what: &'static str, unit: &str, message: &Message) -> Error {
    Error::Systemd {
        what,
        unit: unit.into(),
        name: message.error.clone(),
        message: message.body().text().unwrap_or_default().into(),
    }
}

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

impl Client {
    /// Connects. The server's answer is waited for by the first call.
    pub fn connect(bus: &Bus) -> Result<Client, Error> {
        Connection::open(bus, credentials::euid() == 0).map(|connection| Client { connection })
    }

    /// The cgroup of systemd itself, as a path from the root of the hierarchy: a user's lies in that user's slice.
    pub fn cgroup(&mut self) -> Result<String, Error> {
        let mut body = Writer::default();
        body.text(MANAGER);
        body.text("ControlGroup");
        let get = Call { interface: "org.freedesktop.DBus.Properties", ..call("Get", "ss") };
        let answer = self.ask(get, body, &[], "", &mut Vec::new(), deadline())?;
        let mut body = answer.body();
        match (answer.kind, body.signature(), body.text()) {
            (Kind::Return, Some("s"), Some(path)) => Ok(path.into()),
            _ => Err(refusal("reading ControlGroup of", "systemd", &answer)),
        }
    }

    fn ask(
        &mut self,
        call: Call<'_>,
        body: Writer,
        fds: &[BorrowedFd<'_>],
        unit: &str,
        ended: &mut Vec<Ended>,
        deadline: i64,
    ) -> Result<Message, Error> {
        let serial = self.connection.post(call, &body.into_bytes(), fds)?;
        self.connection.answer(serial, unit, ended, deadline)
    }

    /// Starts a scope with a process that lives, by its pidfd where systemd takes one. Returns when the process is
    /// in its cgroup.
    pub fn start(&mut self, scope: &Scope, pid: Pid, pidfd: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        const WHAT: &str = "creating";
        let deadline = deadline();
        let unit = scope.unit.as_str();
        self.connection.watch(unit)?;
        // Only after the handshake may descriptors be sent.
        let mut pidfd = if pidfd.is_some() && !self.connection.takes_fds(deadline)? { None } else { pidfd };
        let mut left_out: Vec<&str> = Vec::new();
        let mut ended = Vec::new();
        let mut pause = 10_000_000;
        loop {
            let processes = match pidfd {
                Some(_) => ("PIDFDs", Value::Fds(vec![0])),
                None => ("PIDs", Value::Numbers(vec![pid as u32])),
            };
            let given = scope.properties.iter().map(|p| (p.name.as_ref(), &p.value));
            let given = given.filter(|(name, _)| !left_out.contains(name));
            let mut body = Writer::default();
            body.text(unit);
            body.text("replace");
            body.properties(given.chain([(processes.0, &processes.1)]));
            // No further units.
            body.array(8, |_| {});
            let fds: Vec<BorrowedFd<'_>> = pidfd.into_iter().collect();
            let answer =
                self.ask(call("StartTransientUnit", "ssa(sv)a(sa(sv))"), body, &fds, unit, &mut ended, deadline)?;
            if answer.kind == Kind::Return {
                return match self.job(&answer, unit, &mut ended, "to create the unit")?.as_str() {
                    "done" => Ok(()),
                    result => {
                        let message = format!("got `{result}`");
                        self.forget(unit)?;
                        Err(Error::Systemd { what: WHAT, unit: unit.into(), name: String::new(), message })
                    }
                };
            }
            let error = refusal(WHAT, unit, &answer);
            if answer.error == UNIT_EXISTS && pause < 500_000_000 {
                // One of that name that failed, or whose last process has just ended: systemd needs a moment.
                self.forget(unit)?;
                // Being woken early only means trying early.
                let _ = sleep(Timespec { sec: 0, nsec: pause });
                pause *= 2;
                continue;
            }
            let text = answer.body().text().unwrap_or_default();
            if pidfd.is_some() && names(text, "PIDFDs") {
                pidfd = None;
                continue;
            }
            let optional = |p: &&Property| p.unknown == Unknown::Skip && !left_out.contains(&p.name.as_ref());
            match scope.properties.iter().filter(optional).find(|p| names(text, &p.name)) {
                Some(property) => left_out.push(property.name.as_ref()),
                None => return Err(error),
            }
        }
    }

    /// How the job ended that an answer names.
    fn job(
        &mut self,
        answer: &Message,
        unit: &str,
        ended: &mut Vec<Ended>,
        waited_for: &'static str,
    ) -> Result<String, Error> {
        let deadline = now(Clock::Monotonic).as_nanos() + PATIENCE;
        let job: String = answer.body().text().unwrap_or_default().into();
        loop {
            if let Some(at) = ended.iter().position(|end| end.job == job) {
                return Ok(ended.swap_remove(at).result);
            }
            let message = self.connection.next(deadline, waited_for)?;
            if message.kind == Kind::Signal {
                ended.extend(job_end(&message, unit));
            }
        }
    }

    /// Stops a scope, whose processes should have ended before: systemd would ask them to, and wait long. One that
    /// is gone is no error.
    pub fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let deadline = deadline();
        let mut ended = Vec::new();
        self.connection.watch(unit)?;
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        let stop = self.connection.post(call("StopUnit", "ss"), &body.into_bytes(), &[])?;
        // One that has failed stays until it is told to go, and systemd hears nobody who has gone himself: the answer
        // to this is waited for, too.
        let reset = self.connection.post(call("ResetFailedUnit", "s"), &name(unit), &[])?;
        let answer = self.connection.answer(stop, unit, &mut ended, deadline)?;
        if answer.kind == Kind::Error {
            return if answer.error == NO_SUCH_UNIT { Ok(()) } else { Err(refusal("removing", unit, &answer)) };
        }
        self.connection.answer(reset, unit, &mut ended, deadline)?;
        let result = self.job(&answer, unit, &mut ended, "to remove the unit")?;
        if result == "done" {
            return Ok(());
        }
        let reset = self.connection.post(call("ResetFailedUnit", "s"), &name(unit), &[])?;
        self.connection.answer(reset, unit, &mut ended, deadline)?;
        let message = format!("got `{result}`");
        Err(Error::Systemd { what: "removing", unit: unit.into(), name: String::new(), message })
    }

    /// Has systemd put a process into the cgroup of a unit that runs, or one below it, which begins with a slash: an
    /// ordinary user may not, from outside of what is delegated to him.
    pub fn attach(&mut self, unit: &str, below: &str, pid: Pid) -> Result<(), Error> {
        let mut body = Writer::default();
        body.text(unit);
        body.text(if below.is_empty() { "/" } else { below });
        body.array(4, |body| body.u32(pid as u32));
        let attach = call("AttachProcessesToUnit", "ssau");
        let answer = self.ask(attach, body, &[], unit, &mut Vec::new(), deadline())?;
        match answer.kind {
            Kind::Return => Ok(()),
            _ => Err(refusal("adding a process to", unit, &answer)),
        }
    }

    /// Has systemd drop a unit that failed, before it hears the next call; any other is not touched.
    fn forget(&mut self, unit: &str) -> Result<(), Error> {
        let reset = Call { reply: Reply::Unwanted, ..call("ResetFailedUnit", "s") };
        self.connection.post(reset, &name(unit), &[]).map(drop)
    }

    /// Changes properties of a unit that runs, until the next boot.
    pub fn set<'a>(&mut self, unit: &str, properties: impl Iterator<Item = &'a Property>) -> Result<(), Error> {
        let deadline = deadline();
        let mut list: Vec<&Property> = properties.collect();
        loop {
            if list.is_empty() {
                return Ok(());
            }
            // Devices are added to those that are there, unless an empty list comes first.
            let none = Value::Pairs(Vec::new());
            let clear = list.iter().find(|p| p.name == "DeviceAllow").map(|p| (p.name.as_ref(), &none));
            let mut body = Writer::default();
            body.text(unit);
            body.u32(1);
            body.properties(clear.into_iter().chain(list.iter().map(|p| (p.name.as_ref(), &p.value))));
            let answer = self.ask(call("SetUnitProperties", "sba(sv)"), body, &[], unit, &mut Vec::new(), deadline)?;
            if answer.kind == Kind::Return {
                return self.settle(unit, deadline);
            }
            let text = answer.body().text().unwrap_or_default();
            match list.iter().position(|p| p.unknown == Unknown::Skip && names(text, &p.name)) {
                Some(at) => drop(list.remove(at)),
                None => return Err(refusal("setting properties of", unit, &answer)),
            }
        }
    }

    /// Brings a scope to another plan: its properties, and then its files, for systemd rounds and leaves out. If one of
    /// them is refused, all are as they were.
    ///
    /// On v1 systemd applies device rules one by one, after one that denies everything: meanwhile the container is
    /// frozen, as runc does it.
    pub fn update(&mut self, group: &mut Group, plan: &Plan) -> Result<(), Error> {
        let Some(scope) = &plan.scope else {
            return group.update(plan);
        };
        group.update_with(plan, |group, plan| {
            if plan.scope.is_none() {
                super::follow(plan, &scope.bus, &scope.unit);
            }
            plan.scope.as_ref().map_or(Ok(()), |scope| self.set_frozen(group, plan, scope))
        })
    }

    fn set_frozen(&mut self, group: &Group, plan: &Plan, scope: &Scope) -> Result<(), Error> {
        let lines = plan.devices.as_ref().is_some_and(|devices| group.devices_are_lines(devices));
        if !lines || group.is_frozen()? {
            return self.set(&scope.unit, scope.limits());
        }
        group.freeze(crate::group::PATIENCE)?;
        let done = self.set(&scope.unit, scope.limits());
        let thawed = group.thaw();
        done.and(thawed)
    }

    /// Waits until systemd has written what it was told: it does so after it has answered, and before it takes the next
    /// call.
    fn settle(&mut self, unit: &str, deadline: i64) -> Result<(), Error> {
        let ping = Call { interface: "org.freedesktop.DBus.Peer", ..call("Ping", "") };
        self.ask(ping, Writer::default(), &[], unit, &mut Vec::new(), deadline).map(drop)
    }
}

/// The arguments of a call that has a unit's name alone.
fn name(unit: &str) -> Vec<u8> {
    let mut body = Writer::default();
    body.text(unit);
    body.into_bytes()
}

/// Whether a refusal is about the property of that name.
fn names(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == name)
}
