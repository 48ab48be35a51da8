//! `linux.seccomp` of config.json.

use orlop_seccomp::{Action, Arch, Arg, Flags, Operator};
use serde_json::Value;

use super::{Owned, OwnedRule};

pub fn profile(text: &str) -> Owned {
    let json: Value = serde_json::from_str(text).expect("JSON");
    let strings = |value: &Value| -> Vec<String> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| s.as_str().unwrap().to_string())
            .collect()
    };
    let errno = |value: &Value| value.as_u64().map(|errno| errno as u32);
    let action = |value: &Value| Action::from_name(value.as_str().unwrap()).expect("an action");
    Owned {
        default_action: action(&json["defaultAction"]),
        default_errno_ret: errno(&json["defaultErrnoRet"]),
        architectures: strings(&json["architectures"])
            .iter()
            .map(|name| Arch::from_name(name).expect("an architecture"))
            .collect(),
        flags: strings(&json["flags"])
            .iter()
            .map(|name| Flags::from_name(name).expect("a flag"))
            .fold(Flags::NONE, Flags::with),
        rules: json["syscalls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| OwnedRule {
                names: strings(&rule["names"]),
                action: action(&rule["action"]),
                errno_ret: errno(&rule["errnoRet"]),
                args: rule["args"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(arg)
                    .collect(),
            })
            .collect(),
    }
}

fn arg(json: &Value) -> Arg {
    Arg {
        index: json["index"].as_u64().unwrap() as u32,
        op: Operator::from_name(json["op"].as_str().unwrap()).expect("an operator"),
        value: json["value"].as_u64().unwrap(),
        value_two: json["valueTwo"].as_u64().unwrap_or(0),
    }
}
