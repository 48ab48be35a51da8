//! Tables of what an engine is asked for and of what is to come of it, and the engines' removal.

use crate::command::Done;

/// What for, the options, a shell's script, its exit status, its lines.
pub type Case<'a> = (&'a str, &'a [&'a str], &'a str, i32, &'a [&'a str]);

/// Options, the words of the command, the exit status, a part of what it says on stderr.
pub type Failure<'a> = (&'a [&'a str], &'a [&'a str], i32, &'a str);

/// How often something is tried that an engine's own race may spoil.
const TIMES: usize = 3;

/// Every case comes out as its row says, once its words were heard. `clean` comes after each.
#[track_caller]
pub fn check<'a>(
    cases: impl IntoIterator<Item = &'a Case<'a>>,
    run: impl Fn(&[&str], &[&str]) -> Done,
    clean: impl Fn(),
) {
    let mut wrong = Vec::new();
    for (name, options, script, code, lines) in cases {
        let run = || run(options, &["sh", "-c", script]);
        let done = if lines.is_empty() { run() } else { heard(run) };
        let stdout = done.stdout();
        if done.code() != *code || stdout.lines().collect::<Vec<_>>() != *lines {
            wrong.push(format!("{name}: {}: {stdout:?} {:?}", done.code(), done.stderr()));
        }
        clean();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The same for what fails.
#[track_caller]
pub fn check_failures(cases: &[Failure], run: impl Fn(&[&str], &[&str]) -> Done, clean: impl Fn()) {
    let mut wrong = Vec::new();
    for (options, words, code, text) in cases {
        let done = run(options, words);
        if done.code() != *code || !done.stderr().contains(text) {
            wrong.push(format!("{options:?} {words:?}: {}: {:?}", done.code(), done.stderr()));
        }
        clean();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs it again while `spoilt` says that the engine's own race has spoilt it, and says so.
pub fn again_while(spoilt: impl Fn(&Done) -> bool, run: impl Fn() -> Done) -> Done {
    let mut done = run();
    for _ in 1..TIMES {
        if !spoilt(&done) {
            break;
        }
        println!("# once more: {} {}", done.code(), done.stderr());
        done = run();
    }
    done
}

/// The run of a short container that says something: once more where it ended well and nothing was heard. On a busy
/// machine some clients lose all of it, with any runtime. conmon 2.1 looks for children that have ended before it looks
/// who has attached for the first time, and tells what was said in between to its log alone; ctr 1.6 gives up opening
/// its pipes (`io.Cancel`) when the process has ended.
pub fn heard(run: impl Fn() -> Done) -> Done {
    again_while(|done| done.code() == 0 && done.stdout().is_empty() && done.stderr().is_empty(), run)
}

/// A container's forced removal, which an engine gives up where its own clearing away of the same container is under
/// way at that moment. What the runtime fails at is told as such, and not tried again.
#[track_caller]
pub fn removed(remove: impl Fn() -> Done) {
    again_while(|done| done.code() != 0 && !done.stderr().contains("runtime"), remove).ok();
}
