//! Pods as the kubelet asks containerd for them, by the handler of README's RuntimeClass.

use std::fs;

use rustix::mount::mount_bind;
use serde_json::json;

use crate::context::{Context, Skip};
use crate::engines::containerd::Containerd;
use crate::engines::cri::{self, Answer, Message};
use crate::engines::{self, image, until};
use crate::tests::{Outcome, tests};

tests! { "cri":
    ENGINES { pods, networks, security }
}

/// Where Debian's containernetworking-plugins are.
const PLUGINS: &str = "/usr/lib/cni";

/// The values of `NamespaceMode`.
const OF_THE_POD: u64 = 0;
const OF_THE_NODE: u64 = 2;

fn new() -> Message {
    Message::new()
}

/// The daemon, and the pod whose containers are asked for.
struct Cri<'t> {
    containerd: Containerd<'t>,
    pod: Message,
    sandbox: String,
    namespaces: Message,
}

impl<'t> Cri<'t> {
    /// A daemon without a pod. Pods have addresses where there are plugins.
    fn start(t: &'t Context) -> Result<Cri<'t>, Skip> {
        t.needs_root()?;
        engines::install(t);
        let file = t.dir().join("cri.toml");
        let folder = |name: &str| {
            let path = t.dir().join(name);
            fs::create_dir(&path).expect("the test's folder is writable");
            path
        };
        let (networks, addresses, results) = (folder("networks"), folder("addresses"), folder("results"));
        fs::create_dir_all("/var/lib/cni").expect("root may");
        mount_bind(&results, "/var/lib/cni").expect("this mount namespace is ours");
        let network = json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [{
            "type": "bridge", "bridge": "pods0", "isGateway": true,
            "ipam": { "type": "host-local", "dataDir": addresses, "ranges": [[{ "subnet": "10.88.0.0/24" }]] },
        }]});
        fs::write(networks.join("pods.conflist"), network.to_string()).expect("it is ours");
        // Some hosts' root may not lower a score, which containerd asks for otherwise.
        let own = format!(
            "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"localhost/pause:latest\"\n\
             restrict_oom_score_adj = true\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{PLUGINS}\"\n\
             conf_dir = {networks:?}\n"
        );
        fs::write(&file, format!("{}\n{own}", engines::recipe("containerd"))).expect("the test's folder is writable");
        let mut containerd = Containerd::configured(t, file)?;
        for folder in ["runc/k8s.io", "io.containerd.runtime.v2.task/k8s.io", "io.containerd.grpc.v1.cri/sandboxes"] {
            containerd.engine.watch(format!("/run/containerd/{folder}"));
        }
        containerd.engine.watch("/run/netns");
        let pause = image::archive_of(t.dir(), &t.dir().join("rootfs"), "pause", &["sleep", "1000000"]);
        for archive in [pause, t.dir().join("box.tar")] {
            let words = ["--namespace", "k8s.io", "image", "import", archive.to_str().expect("plain")];
            containerd.ctr(&words).end().ok();
        }
        Ok(Cri { containerd, pod: new(), sandbox: String::new(), namespaces: new() })
    }

    fn call(&self, method: &str, request: &Message) -> Result<Answer, String> {
        cri::call(&self.containerd.engine, method, request)
    }

    #[track_caller]
    fn asked(&self, method: &str, request: &Message) -> Answer {
        self.call(method, request).unwrap_or_else(|why| panic!("{method}: {why}"))
    }

    /// A pod with those namespaces, in the test's cgroup.
    fn run_pod(&mut self, network: u64, pids: u64) {
        let t = self.containerd.engine.t;
        let handler = engines::recipe("kubernetes").lines().find_map(|line| line.strip_prefix("handler: "));
        self.namespaces = new().number(1, network).number(2, pids);
        let mut linux = new().text(1, &format!("/{}", t.tag())).message(2, &new().message(1, &self.namespaces));
        if network == OF_THE_POD {
            linux = linux.message(3, &new().text(1, "net.ipv4.ip_unprivileged_port_start").text(2, "80"));
        }
        let metadata = new().text(1, "pod").text(2, "uid").text(3, "default");
        let mut pod = new().message(1, &metadata);
        if network == OF_THE_POD {
            pod = pod.text(2, "named");
        }
        self.pod = pod.text(3, t.dir().to_str().expect("plain")).message(8, &linux);
        let request = new().message(1, &self.pod).text(2, handler.expect("README has one"));
        self.sandbox = self.asked("RunPodSandbox", &request).text(1);
    }

    /// A container of the image; `more` adds to its configuration, `security` to its security context.
    fn create(&self, name: &str, command: &[&str], more: Message, security: Message) -> String {
        let resources = new().number(3, 512).number(4, 64 << 20);
        let linux = new().message(1, &resources).message(2, &security.message(3, &self.namespaces));
        let mut config = more.message(1, &new().text(1, name)).message(2, &new().text(1, image::NAME));
        for word in command {
            config = config.text(3, word);
        }
        let config = config.text(11, &format!("{name}.log")).message(15, &linux);
        let request = new().text(1, &self.sandbox).message(2, &config).message(3, &self.pod);
        self.asked("CreateContainer", &request).text(1)
    }

    fn start_container(&self, name: &str, command: &[&str], more: Message, security: Message) -> String {
        let container = self.create(name, command, more, security);
        self.asked("StartContainer", &new().text(1, &container));
        container
    }

    /// What a container said so far on its standard output.
    fn log(&self, name: &str) -> String {
        let text = fs::read_to_string(self.containerd.engine.t.dir().join(format!("{name}.log"))).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(" stdout F ")).map(|(_, said)| format!("{said}\n")).collect()
    }

    /// A shell's output and exit status.
    fn exec(&self, container: &str, script: &str) -> (String, u64) {
        let request = new().text(1, container).text(2, "sh").text(2, "-c").text(2, script);
        let answer = self.asked("ExecSync", &request);
        (answer.text(1), answer.number(3))
    }

    /// Containers are stopped and removed, and the pod with them.
    #[track_caller]
    fn remove(&self, containers: &[&str]) {
        for container in containers {
            self.asked("StopContainer", &new().text(1, container).number(2, 1));
            self.asked("RemoveContainer", &new().text(1, container));
        }
        self.asked("StopPodSandbox", &new().text(1, &self.sandbox));
        self.asked("RemovePodSandbox", &new().text(1, &self.sandbox));
        self.containerd.engine.is_clean();
    }
}

/// The network and, for the second pod, the pids are the node's.
fn pods(t: &Context) -> Outcome {
    let mut cri = Cri::start(t)?;
    for pids in [OF_THE_POD, OF_THE_NODE] {
        cri.run_pod(OF_THE_NODE, pids);
        let words = ["sh", "-c", "echo hello; sleep 1000 & exec sleep 1000"];
        let container = cri.start_container("box", &words, new(), new());
        until("it says hello", || cri.log("box").ends_with("hello\n"));
        let first = match pids {
            OF_THE_POD => "sleep\n".to_owned(),
            _ => fs::read_to_string("/proc/1/comm").expect("it lives"),
        };
        assert_eq!(cri.exec(&container, "cat /proc/1/comm; exit 9"), (first, 9));

        let limits = new().number(3, 256).number(4, 32 << 20);
        cri.asked("UpdateContainerResources", &new().text(1, &container).message(2, &limits));
        assert_eq!(cri.exec(&container, "echo x >/dev/null").1, 0, "an update leaves the devices alone");
        let stats = cri.asked("ContainerStats", &new().text(1, &container)).message(1);
        assert!(stats.message(3).message(2).number(1) > 0, "its memory is known");

        let missing = cri.create("missing", &["missing"], new(), new());
        let why = cri.call("StartContainer", &new().text(1, &missing)).err().expect("there is no such program");
        assert!(why.contains("executable file not found in $PATH"), "{why}");
        cri.asked("RemoveContainer", &new().text(1, &missing));
        cri.remove(&[&container]);
    }
    cri.containerd.engine.end();
    Ok(())
}

/// Addresses by the plugins of CNI.
fn networks(t: &Context) -> Outcome {
    if !fs::exists(PLUGINS).is_ok_and(|there| there) {
        return Err(Skip("containernetworking-plugins is not installed".into()));
    }
    let mut cri = Cri::start(t)?;
    cri.run_pod(OF_THE_POD, OF_THE_POD);
    let status = cri.asked("PodSandboxStatus", &new().text(1, &cri.sandbox)).message(1);
    let address = status.message(5).text(1);
    assert!(address.starts_with("10.88.0."), "{address:?}");
    let serve = "echo page >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
    let server = cri.start_container("server", &["sh", "-c", serve], new(), new());
    let shown =
        cri.exec(&server, "hostname; ip -4 -o addr show eth0 | grep -c 10.88.0.; ls /sys/class/net | grep -v sit0");
    assert_eq!(shown, ("named\n1\neth0\nlo\n".to_owned(), 0));
    let engine = &cri.containerd.engine;
    let url = format!("http://{address}/");
    until("the node is answered", || {
        let call = engine.call("busybox", &["wget", "-qO-", &url]).unwrap_or_else(|skip| panic!("{}", skip.0));
        call.end().stdout() == "page\n"
    });
    // The pod's containers have one network, and the sandbox's settings.
    let script = "wget -qO- http://127.0.0.1/; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; exec sleep 1000";
    let client = cri.start_container("client", &["sh", "-c", script], new(), new());
    until("the other container is answered", || cri.log("client") == "page\n80\n");
    cri.remove(&[&server, &client]);
    cri.containerd.engine.end();
    Ok(())
}

/// What a pod's document may say of a container's security, its environment, its mounts and its devices.
fn security(t: &Context) -> Outcome {
    let mut cri = Cri::start(t)?;
    cri.run_pod(OF_THE_NODE, OF_THE_POD);
    let shared = cri.containerd.engine.folder("shared");
    fs::write(shared.join("word"), "written\n").expect("it is ours");
    let mount = new().text(1, "/shared").text(2, shared.to_str().expect("plain")).number(3, 1);
    let device = new().text(1, "/dev/other").text(2, "/dev/fuse").text(3, "r");
    let more = || {
        let env = new().text(1, "WORD").text(2, "one two");
        new().text(5, "/etc").message(6, &env).message(7, &mount).message(8, &device)
    };
    let security = new().message(1, &new().text(2, "ALL")).message(5, &new().number(1, 1000)).number(7, 1);
    let security = security.number(8, 55).number(11, 1).message(12, &new().number(1, 1000));
    // The profile of the engine itself.
    let security = security.message(15, &new().number(1, 0));
    let script = "id -u; id -G; pwd; echo $WORD; cat /shared/word; touch /x 2>&- || echo ro; \
        touch /shared/x 2>&- || echo ro; stat -c %t:%T /dev/other; \
        awk '/CapEff|NoNewPrivs|Seccomp:/ {print $2}' /proc/self/status; exec sleep 1000";
    let container = cri.start_container("box", &["sh", "-c", script], more(), security);
    let lines = "1000\n1000 55 2000\n/etc\none two\nwritten\nro\nro\na:e5\n0000000000000000\n1\n2\n";
    until("it has said all", || cri.log("box").lines().count() == lines.lines().count());
    assert_eq!(cri.log("box"), lines);
    assert_eq!(cri.exec(&container, "id -u; grep Seccomp: /proc/self/status"), ("1000\nSeccomp:\t2\n".into(), 0));
    cri.remove(&[&container]);
    cri.containerd.engine.end();
    Ok(())
}
