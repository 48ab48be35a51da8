//! Network devices that move into the container: out of a network namespace that each test makes for itself.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::command::Done;
use crate::context::{Context, Skip};
use crate::tests::{Outcome, tests};

tests! { "netdev":
    HOST_ROOT {
        device_moves_with_what_it_has, device_keeps_its_name, template_gets_a_number, device_of_a_user_namespace,
        missing_device, name_that_is_taken, failed_container_gives_the_device_back, device_stays_where_it_was_joined,
        devices_are_checked,
    }
}

const ADDRESS: &str = "10.98.76.54/24";
const SIX: &str = "fd00:98::54/64";

/// Runs the bundle in a new network namespace with a device `orlop0`, and then says what is left there.
fn run(t: &Context, bundle: &Bundle) -> Result<Done, Skip> {
    run_and(t, bundle, "true")
}

/// The same, and another command while the namespace is still there.
fn run_and(t: &Context, bundle: &Bundle, then: &str) -> Result<Done, Skip> {
    let device = format!(
        "ip link add orlop0 type veth peer name peer0 && ip link set orlop0 mtu 1789 address 00:11:22:33:44:55 &&
         ip addr add {ADDRESS} dev orlop0 && ip addr add 10.98.76.55/32 scope link dev orlop0 &&
         {{ [ ! -e /proc/net/if_inet6 ] || ip addr add {SIX} dev orlop0; }} && ip link set orlop0 up || exit 90"
    );
    let script = format!(
        "exec unshare --net bash -c '{device}
         \"$@\"; status=$?; echo left; ip -o addr show; ip -o link show; {then}; exit $status' bash \"$@\""
    );
    let done = t.orlop(&["run", "--bundle", bundle.path(), &t.id("c")]).through_bash(&script).end();
    if done.code() == 90 { Err(Skip("no veth devices on this kernel".into())) } else { Ok(done) }
}

fn with_device(t: &Context, device: &str, name: Value) -> Bundle {
    t.bundle().with(&format!("/linux/netDevices/{device}"), name)
}

fn device(name: &str, file: &str) -> String {
    format!("/sys/class/net/{name}/{file}")
}

/// What the container, and what the namespace outside prints.
fn halves(done: &Done) -> (String, String) {
    let text = done.stdout();
    let (inside, outside) = text.split_once("left\n").unwrap_or((&text, ""));
    (inside.to_owned(), outside.to_owned())
}

/// Up, with its MTU, hardware address, and those addresses that mean something elsewhere.
fn device_moves_with_what_it_has(t: &Context) -> Outcome {
    let has_six = fs::exists("/proc/net/if_inet6").unwrap_or(false);
    let files = [device("there0", "mtu"), device("there0", "address"), device("there0", "flags")];
    let mut args: Vec<&str> = std::iter::once("cat").chain(files.iter().map(String::as_str)).collect();
    args.push("/proc/net/fib_trie");
    if has_six {
        args.push("/proc/net/if_inet6");
    }
    let bundle = with_device(t, "orlop0", json!({"name": "there0"})).args(&args);
    let done = run(t, &bundle)?.ok();
    let (inside, outside) = halves(&done);
    let lines: Vec<&str> = inside.lines().collect();
    assert_eq!(lines[..2], ["1789", "00:11:22:33:44:55"]);
    let flags = u32::from_str_radix(lines[2].trim_start_matches("0x"), 16).expect("flags");
    assert_eq!(flags & 1, 1, "up");
    assert!(inside.contains("10.98.76.54") && inside.contains("10.98.76.0/24"), "{inside}");
    assert!(!inside.contains("10.98.76.55"), "of the host's link: {inside}");
    assert!(!has_six || inside.contains("fd00009800000000000000000000005"), "{inside}");
    assert!(!outside.contains("orlop0"), "{outside}");
    Ok(())
}

fn device_keeps_its_name(t: &Context) -> Outcome {
    let bundle = with_device(t, "orlop0", json!({})).args(&["cat", &device("orlop0", "mtu")]);
    assert_eq!(halves(&run(t, &bundle)?.ok()).0, "1789\n");
    Ok(())
}

fn template_gets_a_number(t: &Context) -> Outcome {
    let bundle = with_device(t, "orlop0", json!({"name": "eth%d"})).args(&["cat", &device("eth0", "mtu")]);
    assert_eq!(halves(&run(t, &bundle)?.ok()).0, "1789\n");
    Ok(())
}

fn device_of_a_user_namespace(t: &Context) -> Outcome {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = with_device(t, "orlop0", json!({"name": "there0"})).args(&["cat", &device("there0", "mtu")]);
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "user"}));
    let bundle = bundle.with("/linux/uidMappings", map.clone()).with("/linux/gidMappings", map);
    assert_eq!(halves(&run(t, &bundle)?.ok()).0, "1789\n");
    Ok(())
}

fn missing_device(t: &Context) -> Outcome {
    let done = run(t, &with_device(t, "missing0", json!({})))?;
    done.fails_with("network device \"missing0\": link not found");
    Ok(())
}

/// The device is as it was: up, with all its addresses.
fn untouched(done: &Done) {
    let (_, outside) = halves(done);
    for wanted in [ADDRESS, "orlop0@peer0: <NO-CARRIER,BROADCAST,MULTICAST,UP", "mtu 1789"] {
        assert!(outside.contains(wanted), "no {wanted}: {outside}");
    }
    assert!(!fs::exists("/proc/net/if_inet6").unwrap_or(false) || outside.contains(SIX), "{outside}");
}

fn name_that_is_taken(t: &Context) -> Outcome {
    let done = run(t, &with_device(t, "orlop0", json!({"name": "lo"})))?;
    untouched(&done);
    done.fails_with("has a device \"lo\" already");
    Ok(())
}

fn failed_container_gives_the_device_back(t: &Context) -> Outcome {
    let bundle = with_device(t, "orlop0", json!({"name": "there0"}));
    let done = run(t, &bundle.with("/hooks/createRuntime/-", json!({"path": "/bin/false"})))?;
    untouched(&done);
    done.fails_with("hook");
    Ok(())
}

/// Whose namespace it is decides what becomes of it.
fn device_stays_where_it_was_joined(t: &Context) -> Outcome {
    let holder = t.bundle().args(&["sleep", "600"]);
    let id = t.id("holder");
    t.detach(&holder, &id);
    let path = format!("/proc/{}/ns/net", t.pid(&id));
    fs::remove_dir_all(holder.path()).expect("it is ours");
    let bundle = with_device(t, "orlop0", json!({"name": "there0"}));
    let bundle = bundle.retain("/linux/namespaces", |space| space["type"] != "network");
    let bundle = bundle.with("/linux/namespaces/-", json!({"type": "network", "path": path}));
    // The new sysfs shows the namespace that is joined.
    let then = format!("cat /proc/{}/net/dev", t.pid(&id));
    let done = run_and(t, &bundle.args(&["cat", &device("there0", "mtu")]), &then).map(|done| halves(&done.ok()));
    t.delete(&id);
    let (inside, outside) = done?;
    assert_eq!(inside, "1789\n");
    assert!(outside.contains("there0:"), "{outside}");
    Ok(())
}

fn devices_are_checked(t: &Context) -> Outcome {
    for (devices, error) in [
        (json!({"a/b": {}}), "invalid network device name \"a/b\""),
        (json!({"orlop0": {"name": "1234567890123456"}}), "invalid network device name \"1234567890123456\""),
        (json!({"a": {"name": "c"}, "b": {"name": "c"}}), "two network devices with the name \"c\""),
    ] {
        t.run(&t.bundle().with("/linux/netDevices", devices)).fails_with(error);
        fs::remove_dir_all(t.dir().join("bundle")).expect("it is ours");
    }
    let own = json!({"type": "network", "path": "/proc/self/ns/net"});
    for joins in [false, true] {
        let mut bundle = with_device(t, "orlop0", json!({}));
        bundle = bundle.retain("/linux/namespaces", |space| space["type"] != "network");
        if joins {
            bundle = bundle.with("/linux/namespaces/-", own.clone());
        }
        t.run(&bundle).fails_with("unable to move network devices without a network namespace");
        fs::remove_dir_all(bundle.path()).expect("it is ours");
    }
    Ok(())
}
