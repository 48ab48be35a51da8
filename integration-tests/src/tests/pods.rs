//! Podman's pods: made one by one, or played from Kubernetes' documents.

use std::fs;

use crate::context::Context;
use crate::engines::podman::Podman;
use crate::engines::{image, until};
use crate::leaks;
use crate::tests::{Outcome, tests};

tests! { "pods":
    ENGINES { made, played }
}

/// The cgroup of pods that have no parent of their own, shared with all of this machine.
const PARENT: &str = "libpod_parent";

/// The document; `@image` and `@volume` are filled in.
pub const POD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: words
data:
  greeting: hello
---
apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  hostname: named
  restartPolicy: Never
  containers:
  - name: one
    image: @image
    imagePullPolicy: Never
    command: [sh, -c, "echo $GREETING from $(hostname); touch /shared/one; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    env:
    - name: GREETING
      valueFrom:
        configMapKeyRef:
          name: words
          key: greeting
    resources:
      limits:
        memory: 64Mi
    volumeMounts:
    - name: shared
      mountPath: /shared
  - name: two
    image: @image
    imagePullPolicy: Never
    workingDir: /tmp
    command: [sh, -c]
    args: ["id -u; pwd; grep CapEff /proc/self/status; touch /x 2>&- || echo ro; exec sleep 1000"]
    securityContext:
      runAsUser: 1000
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities:
        drop: [ALL]
    volumeMounts:
    - name: shared
      mountPath: /shared
      readOnly: true
  volumes:
  - name: shared
    hostPath:
      path: @volume
      type: Directory
"#;

/// Podman fails where a monitor has not left the pod's cgroup yet, with every runtime; it may have removed the pod.
pub fn removed(podman: &Podman, name: &str, words: &[&str]) {
    until("the pod is removed", || {
        let done = podman.podman(words).end();
        let is_gone = podman.podman(&["pod", "exists", name]).end().code() == 1;
        if !is_gone {
            println!("{}", done.stderr());
        }
        is_gone
    });
}

fn made(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let parent = format!("/{}", t.tag());
    let create = |name: &str| {
        let share = ["--network", "none", "--share", "net,ipc,uts,pid", "--cgroup-parent", &parent];
        let args = [&["pod", "create", "--name", name], &share[..]];
        podman.podman(&args.concat()).end().ok();
    };
    create("p");
    podman.detach(&["--pod", "p"], "c", &["sleep", "1000"]);
    podman.prints(&["--pod", "p"], "hostname; pidof sleep | wc -w", &["p", "1"]);
    for command in ["pause", "unpause", "restart", "stop", "start"] {
        let time: &[&str] = if command == "stop" { &["--time", "0"] } else { &[] };
        podman.podman(&[&["pod", command], time, &["p"]].concat()).end().ok();
    }
    assert!(podman.podman(&["pod", "top", "p"]).end().ok().stdout().contains("sleep"));
    // A pod's container that ends well, and one whose limits are its own.
    podman.prints(&["--pod", "p", "--memory", "64m"], "readlink /proc/self/ns/net | wc -l", &["1"]);
    removed(&podman, "p", &["pod", "rm", "--force", "--ignore", "--time", "0", "p"]);
    podman.podman(&["rmi", "--all", "--force"]).end().ok();
    podman.end();
    Ok(())
}

/// `podman kube play` and `kube down`.
fn played(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    let volume = podman.engine.folder("volume");
    let file = t.dir().join("pod.yaml");
    let text = POD.replace("@image", image::NAME).replace("@volume", volume.to_str().expect("plain"));
    fs::write(&file, text).expect("writable");
    let file = file.to_str().expect("plain");
    podman.podman(&["kube", "play", "--network", "none", file]).end().ok();
    let id = podman.podman(&["pod", "inspect", "--format", "{{.ID}}", "played"]).end().ok().stdout();
    let logs = |name: &str| podman.podman(&["logs", name]).end().ok().stdout();
    until("the first says it", || logs("played-one") == "hello from named\n");
    let lines = "1000\n/tmp\nCapEff:\t0000000000000000\nro\n";
    until("the second says it", || logs("played-two") == lines);
    let exec = |name: &str, words: &[&str]| podman.podman(&[&["exec", name], words].concat()).end();
    exec("played-two", &["ls", "/shared"]).ok().prints(&["one"]);
    assert!(exec("played-two", &["touch", "/shared/two"]).code() > 0);
    exec("played-one", &["hostname"]).ok().prints(&["named"]);
    if t.host.has_controller("memory") {
        assert_eq!(podman.inspect("played-one", "{{.HostConfig.Memory}}"), (64 << 20).to_string());
    }
    podman.podman(&["pod", "stop", "--time", "10", "played"]).end().ok();
    assert_eq!(podman.inspect("played-one", "{{.State.ExitCode}}"), "0");
    podman.podman(&["pod", "start", "played"]).end().ok();
    exec("played-two", &["true"]).ok();
    removed(&podman, "played", &["kube", "down", file]);
    // Its cgroup has not this test's name, but that of the pod.
    until("its cgroup is gone", || {
        let left = leaks::cgroups_of(id.trim());
        let left: Vec<_> = left.iter().filter(|path| !path.ends_with(PARENT)).collect();
        left.iter().rev().all(|path| path.ends_with(id.trim()) && fs::remove_dir(path).is_ok())
    });
    podman.podman(&["rmi", "--all", "--force"]).end().ok();
    podman.end();
    Ok(())
}
