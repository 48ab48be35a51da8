//! Images built by Podman and by Buildah, whose steps the runtime runs; and what Buildah runs besides.

use std::fs;

use crate::context::{Context, Skip};
use crate::engines::podman::Podman;
use crate::engines::terminal_answers as answers;
use crate::engines::{image, runtime, tool};
use crate::tests::{Outcome, tests};

tests! { "podman":
    ENGINES { builds }
}

/// `podman build`, `buildah build` and `buildah run`, each with the runtime.
fn builds(t: &Context) -> Outcome {
    let podman = Podman::of_root(t)?;
    build(&podman)?;
    podman.end();
    Ok(())
}

pub(super) fn build(podman: &Podman<'_>) -> Result<(), Skip> {
    let t = podman.engine.t;
    tool("buildah")?;
    let context = podman.engine.folder("context");
    let file = |name: &str, steps: &str| {
        fs::write(context.join(name), format!("FROM {}\n{steps}", image::NAME)).expect("writable");
        context.join(name).to_str().expect("plain").to_owned()
    };
    let good = file(
        "Good",
        "RUN echo built >/built; id -u\nUSER 1000\nWORKDIR /tmp\nRUN id -u; pwd; grep CapAmb /proc/self/status\n",
    );
    let bad = file("Bad", "RUN exit 5\n");
    let binary = runtime(t).to_str().expect("plain").to_owned();
    let context = context.to_str().expect("plain");
    let buildah = ["--runtime", &binary, "--isolation", "oci", "--network", "none"];
    for (program, first, with) in [("podman", "build", &buildah[2..]), ("buildah", "build", &buildah[..])] {
        let start = [&[first], with].concat();
        let done = podman
            .program(program, &[&start[..], &["--no-cache", "-t", "localhost/built", "-f", &good, context]].concat())
            .end()
            .ok();
        let lines: Vec<String> = done.stdout().lines().map(str::to_owned).collect();
        for line in ["0", "1000", "/tmp"] {
            assert!(lines.iter().any(|found| found == line), "{program}: no {line} in {lines:?}");
        }
        podman.run(&[], "true").end().ok();
        let done = podman.program(program, &[&start[..], &["--no-cache", "-f", &bad, context]].concat()).end();
        assert!(done.code() > 0 && done.stderr().contains("exit status 5"), "{program}: {}", done.stderr());
        podman.podman(&["rmi", "--force", "localhost/built"]).end().ok();
    }
    podman.program("buildah", &["from", "--name", "working", image::NAME]).end().ok();
    let run = |options: &[&str], words: &[&str]| {
        podman.program("buildah", &[&["run"], &buildah[..], options, &["working"], words].concat())
    };
    run(&[], &["echo", "hello"]).end().ok().prints(&["hello"]);
    run(&["--user", "1000"], &["id", "-u"]).end().ok().prints(&["1000"]);
    run(&["--runtime-flag", "debug"], &["echo", "hello"]).end().ok().prints(&["hello"]);
    run(&["--cap-add", "CAP_NET_ADMIN", "--volume", "/etc:/mnt:ro"], &["test", "-e", "/mnt/passwd"]).end().ok();
    run(&[], &["sh", "-c", "exit 6"]).end().exits(6);
    let done = run(&[], &["missing"]).end();
    assert!(done.code() > 0 && done.stderr().contains("executable file not found in $PATH"), "{}", done.stderr());
    let input = t.dir().join("input");
    fs::write(&input, "typed\n").expect("writable");
    run(&[], &["cat"]).stdin(fs::File::open(&input).expect("it is there")).end().ok().prints(&["typed"]);
    let (running, mut terminal) = run(&["--terminal"], &["sh"]).start_in_terminal();
    answers(&mut terminal, "tty", "/dev/pts/0");
    terminal.types("exit\n");
    running.end().ok();
    podman.program("buildah", &["rm", "working"]).end().ok();
    Ok(())
}
