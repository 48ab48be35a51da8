//! Device nodes and the links beside them.

use alloc::format;

use orlop_init::step::{DeviceKind, NodeBy, Step};

use super::{Origin, Phase, Planner, invalid, slot};
use crate::config::{Device, DeviceKind as Configured, NamespaceKind};
use crate::error::Result;
use crate::path;

/// What every container has; config-linux.md, "Default Devices".
pub(crate) const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// runtime-linux.md, "Dev symbolic links".
const LINKS: &[(&str, &str)] = &[
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

impl Planner<'_> {
    pub(super) fn devices(&mut self) -> Result<()> {
        let phase = Phase::Devices;
        let config = self.config;
        // A /dev of the host's is not ours to fill.
        let bound = config.mounts.iter().any(|mount| {
            let bind = mount.kind == "bind" || mount.options.iter().any(|o| *o == "bind" || *o == "rbind");
            bind && path::clean_absolute(&mount.destination) == "/dev"
        });
        if bound {
            return Ok(());
        }
        let users = self.host.rootless || self.has_namespace(NamespaceKind::User);
        let node = if users { NodeBy::Bind } else { NodeBy::Mknod };
        let configured = |path: &str| config.linux.devices.iter().any(|device| device.path == path);
        for &(path, major, minor) in DEFAULT.iter().filter(|(path, ..)| !configured(path)) {
            let path = self.strings.text(path.as_bytes());
            let kind = DeviceKind::Character;
            let step = Step::Device { root: slot::ROOT, path, kind, mode: 0o666, major, minor, uid: 0, gid: 0, node };
            self.init(phase, Origin::NONE, step);
        }
        for (index, device) in config.linux.devices.iter().enumerate() {
            let origin = Origin::member("/linux/devices", index);
            let step = self.device(device, node, origin);
            // The container's own is in its devpts, where the link leads: the host's would be bound for others.
            let is_link = (device.major, device.minor) == (5, 2) && path::clean_absolute(&device.path) == "/dev/ptmx";
            if let Some(step) = self.sound(step)?.filter(|_| !is_link) {
                self.init(phase, origin, step);
            }
        }
        for (link, target) in LINKS {
            let path = self.strings.text(link.as_bytes());
            let target = self.strings.text(target.as_bytes());
            self.init(phase, Origin::NONE, Step::Symlink { root: slot::ROOT, path, target });
        }
        Ok(())
    }

    fn device(&mut self, device: &Device<'_>, node: NodeBy, origin: Origin) -> Result<Step> {
        let kind = match device.kind {
            Configured::Char | Configured::Unbuffered => DeviceKind::Character,
            Configured::Block => DeviceKind::Block,
            Configured::Fifo => DeviceKind::Fifo,
        };
        if !device.path.starts_with('/') {
            self.fault(invalid("the path of a device must be absolute", origin.inside("/path")))?;
        }
        let number = |n: i64, field| {
            u32::try_from(n).map_err(|_| invalid(format!("{n} is no device number"), origin.inside(field)))
        };
        let (major, minor) = match kind {
            DeviceKind::Fifo => (0, 0),
            _ => {
                let numbers = (number(device.major, "/major"), number(device.minor, "/minor"));
                (self.sound(numbers.0)?.unwrap_or(0), self.sound(numbers.1)?.unwrap_or(0))
            }
        };
        Ok(Step::Device {
            root: slot::ROOT,
            path: self.text(&path::clean_absolute(&device.path), origin.inside("/path"))?,
            kind,
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            major,
            minor,
            uid: device.uid.unwrap_or(0),
            gid: device.gid.unwrap_or(0),
            node: if kind == DeviceKind::Fifo { NodeBy::Mknod } else { node },
        })
    }
}
