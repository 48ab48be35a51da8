//! libseccomp, if this machine has it, fed as runc feeds it.
#![allow(unsafe_code, reason = "a C library, found at run time")]
#![allow(clippy::missing_transmute_annotations, reason = "the fields of Library say the types")]
#![allow(clippy::print_stderr, reason = "why a test is skipped")]

use std::ffi::{CString, c_char, c_int, c_uint, c_void};

use orlop_seccomp::{Arch, Operator, SockFilter};

use super::{Owned, OwnedRule, value};

type Context = *mut c_void;

#[repr(C)]
struct ScmpArg {
    arg: c_uint,
    op: c_int,
    datum_a: u64,
    datum_b: u64,
}

/// The functions used here, seccomp.h.
pub struct Library {
    version: unsafe extern "C" fn() -> *const [c_uint; 3],
    init: unsafe extern "C" fn(u32) -> Context,
    release: unsafe extern "C" fn(Context),
    arch_add: unsafe extern "C" fn(Context, u32) -> c_int,
    attr_set: unsafe extern "C" fn(Context, c_int, u32) -> c_int,
    resolve: unsafe extern "C" fn(*const c_char) -> c_int,
    resolve_arch: unsafe extern "C" fn(u32, *const c_char) -> c_int,
    rule_add: unsafe extern "C" fn(Context, u32, c_int, c_uint, *const ScmpArg) -> c_int,
    export: unsafe extern "C" fn(Context, c_int) -> c_int,
}

impl Library {
    /// Loads the library, or says why the test is skipped. ORLOP_LIBSECCOMP names another
    /// file than the system's.
    pub fn load() -> Option<Library> {
        let file = std::env::var("ORLOP_LIBSECCOMP").unwrap_or("libseccomp.so.2".into());
        let name = CString::new(file.clone()).unwrap();
        // SAFETY: a NUL-terminated name; libseccomp's constructors touch nothing of ours.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if library.is_null() {
            eprintln!("skipped: no {file} on this machine");
            return None;
        }
        macro_rules! function {
            ($name:literal) => {{
                // SAFETY: the handle is live and never closed.
                let pointer = unsafe { libc::dlsym(library, concat!($name, "\0").as_ptr().cast()) };
                assert!(!pointer.is_null(), $name);
                // SAFETY: the field's type is the function's in seccomp.h.
                unsafe { std::mem::transmute(pointer) }
            }};
        }
        Some(Library {
            version: function!("seccomp_version"),
            init: function!("seccomp_init"),
            release: function!("seccomp_release"),
            arch_add: function!("seccomp_arch_add"),
            attr_set: function!("seccomp_attr_set"),
            resolve: function!("seccomp_syscall_resolve_name"),
            resolve_arch: function!("seccomp_syscall_resolve_name_arch"),
            rule_add: function!("seccomp_rule_add_array"),
            export: function!("seccomp_export_bpf"),
        })
    }

    /// Major, minor and micro.
    pub fn version(&self) -> [u32; 3] {
        // SAFETY: a static structure of three unsigned ints.
        unsafe { *(self.version)() }
    }

    /// A call's number; negative when there is none (-1: nobody knows the name).
    pub fn number(&self, arch: Arch, name: &str) -> i32 {
        let name = CString::new(name).unwrap();
        // SAFETY: a NUL-terminated name.
        unsafe { (self.resolve_arch)(token(arch), name.as_ptr()) }
    }

    /// The program libseccomp makes of a profile, or its errno.
    pub fn compile(&self, profile: &Owned) -> Result<Vec<SockFilter>, i32> {
        let default = value(profile.default_action, profile.default_errno_ret);
        // SAFETY: plain value.
        let context = unsafe { (self.init)(default) };
        assert!(!context.is_null());
        let result = self.fill(context, profile, default).map(|()| self.read(context));
        // SAFETY: the context of seccomp_init, not used any more.
        unsafe { (self.release)(context) };
        result
    }

    fn fill(&self, context: Context, profile: &Owned, default: u32) -> Result<(), i32> {
        let done = |result: c_int| if result < 0 { Err(-result) } else { Ok(()) };
        for arch in &profile.architectures {
            // SAFETY: a live context.
            match unsafe { (self.arch_add)(context, token(*arch)) } {
                result if result == -libc::EEXIST => {}
                result => done(result)?,
            }
        }
        const OPTIMIZE: c_int = 8;
        // The tree over numbers, which 2.5.4 gets wrong when there are no rules.
        if profile.rules.len() > 32 {
            // SAFETY: a live context.
            done(unsafe { (self.attr_set)(context, OPTIMIZE, 2) })?;
        }
        for rule in &profile.rules {
            let value = value(rule.action, rule.errno_ret);
            for name in rule.names.iter().filter(|_| value != default) {
                let name = CString::new(name.as_str()).unwrap();
                // SAFETY: a NUL-terminated name.
                let number = unsafe { (self.resolve)(name.as_ptr()) };
                if number == -1 {
                    continue;
                }
                for args in sets(rule) {
                    // SAFETY: a live context, and as many arguments as said.
                    done(unsafe { (self.rule_add)(context, value, number, args.len() as c_uint, args.as_ptr()) })?;
                }
            }
        }
        Ok(())
    }

    fn read(&self, context: Context) -> Vec<SockFilter> {
        use std::io::{Read, Seek};
        use std::os::fd::{AsRawFd, FromRawFd};
        // SAFETY: a NUL-terminated name; the descriptor is owned by the file from here on.
        let mut file = unsafe {
            let fd = libc::memfd_create(c"program".as_ptr(), 0);
            assert!(fd >= 0);
            std::fs::File::from_raw_fd(fd)
        };
        // SAFETY: a live context and a live descriptor.
        assert_eq!(unsafe { (self.export)(context, file.as_raw_fd()) }, 0);
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        let (instructions, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty());
        instructions
            .iter()
            .map(|b| SockFilter {
                code: u16::from_ne_bytes([b[0], b[1]]),
                jt: b[2],
                jf: b[3],
                k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect()
    }
}

/// libseccomp's name for an architecture: its audit token, but for x32.
fn token(arch: Arch) -> u32 {
    match arch {
        Arch::X32 => 0x4000_003e,
        other => other.audit_token(),
    }
}

fn sets(rule: &OwnedRule) -> Vec<Vec<ScmpArg>> {
    let args = rule.args.iter().map(|arg| ScmpArg {
        arg: arg.index,
        op: match arg.op {
            Operator::NotEqual => 1,
            Operator::Less => 2,
            Operator::LessEqual => 3,
            Operator::Equal => 4,
            Operator::GreaterEqual => 5,
            Operator::Greater => 6,
            Operator::MaskedEqual => 7,
        },
        datum_a: arg.value,
        datum_b: arg.value_two,
    });
    let repeated = (0..6).any(|index| rule.args.iter().filter(|arg| arg.index == index).count() > 1);
    if repeated { args.map(|arg| vec![arg]).collect() } else { vec![args.collect()] }
}
