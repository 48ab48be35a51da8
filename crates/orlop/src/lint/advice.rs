//! What a container is made with, and not as it was meant: nothing here stops `create`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Note, members};
use crate::config::{Config, Mount};
use crate::path::clean_absolute;
use crate::plan::options::{self, MountOptions};

/// Everything of the kind but for the filter's rules.
pub(super) fn of(config: &Config<'_>, notes: &mut Vec<Note>) {
    process(config, notes);
    mounts(config, notes);
    devices(config, notes);
    covered(config, notes);
    weights(config, notes);
    if !config.hooks.prestart.is_empty() {
        let note = Note::warning("/hooks/prestart", "prestart hooks are deprecated by the specification");
        notes.push(note.hint("createRuntime, createContainer and startContainer say where each hook runs"));
    }
}

fn process(config: &Config<'_>, notes: &mut Vec<Note>) {
    let Some(process) = &config.process else { return };
    if process.console_size.is_some() && !process.terminal {
        notes.push(Note::warning("/process/consoleSize", "has no effect: the process has no terminal"));
    }
    for (index, entry) in process.env.iter().enumerate() {
        let name = |entry: &str| entry.split_once('=').map(|(name, _)| String::from(name));
        let later = process.env.iter().enumerate().skip(index + 1);
        let own = name(entry);
        if let Some((at, _)) = later.into_iter().find(|(_, other)| own.is_some() && name(other) == own) {
            let what = format!("has no effect: /process/env/{at} sets {} again", own.unwrap_or_default());
            notes.push(Note::warning(format!("/process/env/{index}"), what));
        }
    }
}

fn mounts(config: &Config<'_>, notes: &mut Vec<Note>) {
    let places: Vec<String> = config.mounts.iter().map(|mount| clean_absolute(&mount.destination)).collect();
    for (index, mount) in config.mounts.iter().enumerate() {
        let at = |tail: &str| format!("/mounts/{index}{tail}");
        if !mount.destination.starts_with('/') {
            let note = Note::warning(at("/destination"), "the specification requires an absolute path");
            notes.push(note.hint(format!("it is taken as {:?}", clean_absolute(&mount.destination))));
        }
        let is_remount = mount.options.iter().any(|option| *option == "remount");
        let hiding = places.iter().zip(&config.mounts).enumerate().skip(index + 1);
        let covers = |place: &String, other: &Mount<'_>| {
            is_at_or_below(&places[index], place) && !other.options.iter().any(|option| *option == "remount")
        };
        if let Some((at_index, _)) = hiding.into_iter().find(|(_, (place, other))| covers(place, other))
            && !is_remount
        {
            let what = format!("is hidden: /mounts/{at_index} comes after it and covers it");
            notes.push(Note::warning(at(""), what));
        }
        mount_options(mount, &at("/options"), notes);
    }
}

fn mount_options(mount: &Mount<'_>, pointer: &str, notes: &mut Vec<Note>) {
    let parsed = MountOptions::of(mount);
    let bind = parsed.bind.is_some();
    for (index, option) in mount.options.iter().enumerate() {
        if !option.split(',').any(|part| parsed.data.contains(&part)) {
            continue;
        }
        let near = members::nearest(option, options::supported()).filter(|_| !option.contains('='));
        let note = match (bind, near) {
            (true, _) => Note::warning(format!("{pointer}/{index}"), "has no effect on a bind mount"),
            (false, Some(_)) => {
                Note::warning(format!("{pointer}/{index}"), "is none of mount(8), and goes to the file system")
            }
            (false, None) => continue,
        };
        notes.push(match near {
            Some(near) => note.hint(format!("did you mean {near:?}?")),
            None => note,
        });
    }
}

fn devices(config: &Config<'_>, notes: &mut Vec<Note>) {
    let devices = &config.linux.devices;
    let is_bound = |mount: &&Mount<'_>| {
        let bind = mount.kind == "bind" || mount.options.iter().any(|o| *o == "bind" || *o == "rbind");
        bind && clean_absolute(&mount.destination) == "/dev"
    };
    if !devices.is_empty() && config.mounts.iter().any(|mount| is_bound(&mount)) {
        notes.push(Note::warning("/linux/devices", "no device is made: /dev is the host's, by a bind mount"));
    }
    for (index, device) in devices.iter().enumerate() {
        let place = clean_absolute(&device.path);
        if let Some(first) = devices.iter().take(index).position(|other| clean_absolute(&other.path) == place) {
            let what = format!("is there already, by /linux/devices/{first}");
            notes.push(Note::warning(format!("/linux/devices/{index}/path"), what));
        }
    }
}

fn covered(config: &Config<'_>, notes: &mut Vec<Note>) {
    let masked: Vec<String> = config.linux.masked_paths.iter().map(|path| clean_absolute(path)).collect();
    let readonly: Vec<String> = config.linux.readonly_paths.iter().map(|path| clean_absolute(path)).collect();
    for (list, pointer) in [(&masked, "/linux/maskedPaths"), (&readonly, "/linux/readonlyPaths")] {
        for (index, path) in list.iter().enumerate() {
            let covering = masked.iter().position(|above| is_at_or_below(path, above));
            let same = list.iter().take(index).position(|other| other == path);
            let what = match (covering, same) {
                (_, Some(first)) => format!("is there already, by {pointer}/{first}"),
                (Some(above), None) if pointer != "/linux/maskedPaths" || above != index => {
                    format!("has no effect: /linux/maskedPaths/{above} covers it")
                }
                _ => continue,
            };
            notes.push(Note::warning(format!("{pointer}/{index}"), what));
        }
    }
}

fn weights(config: &Config<'_>, notes: &mut Vec<Note>) {
    for (index, device) in config.linux.resources.block_io.weight_device.iter().enumerate() {
        if device.weight.is_none() && device.leaf_weight.is_none() {
            let pointer = format!("/linux/resources/blockIO/weightDevice/{index}");
            notes.push(Note::warning(
                pointer,
                "the specification requires one of weight and leafWeight; nothing is set",
            ));
        }
    }
}

fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above == "/")
}
