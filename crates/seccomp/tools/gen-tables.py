#!/usr/bin/env python3
"""Writes src/table/data.rs: the kernel's system call numbers by name and architecture.

The source is the kernel's own exported headers, as Debian's linux-libc-dev
(6.12 or newer: one package with every architecture) installs them:

    gen-tables.py /usr/lib/linux/uapi [OLDER/usr/lib/linux/uapi ...] > src/table/data.rs

Several trees may be given, newest first: a name that only an older one has is
kept (a profile may still say it), and so is an architecture that newer kernels
dropped (31-bit s390 left Linux in 6.19). Two trees that give one name different
numbers are an error.
"""

import pathlib
import re
import sys

# column: (header below the tree, what its numbers start from)
COLUMNS = {
    "X86": ("x86/asm/unistd_32.h", 0),
    "X86_64": ("x86/asm/unistd_64.h", 0),
    "X32": ("x86/asm/unistd_x32.h", 0x40000000),
    "ARM": ("arm/asm/unistd-eabi.h", 0),
    "AARCH64": ("arm64/asm/unistd_64.h", 0),
    "LOONGARCH64": ("loongarch/asm/unistd_64.h", 0),
    "RISCV64": ("riscv/asm/unistd_64.h", 0),
    "M68K": ("m68k/asm/unistd_32.h", 0),
    "MIPS": ("mips/asm/unistd_o32.h", 4000),
    "MIPS64": ("mips/asm/unistd_n64.h", 5000),
    "MIPS64N32": ("mips/asm/unistd_n32.h", 6000),
    "PARISC": ("parisc/asm/unistd_32.h", 0),
    "PARISC64": ("parisc/asm/unistd_64.h", 0),
    "PPC": ("powerpc/asm/unistd_32.h", 0),
    "PPC64": ("powerpc/asm/unistd_64.h", 0),
    "S390": ("s390/asm/unistd_32.h", 0),
    "S390X": ("s390/asm/unistd_64.h", 0),
    "SH": ("sh/asm/unistd_32.h", 0),
}
# Numbers from here on mean the same call everywhere (Linux 5.2, "unified").
UNIFIED = 424
# ARM's private calls are 0xf0000 + n; 16 bits hold them as 0xf000 + n.
ARM_PRIVATE, ARM_SHORT = 0xF0000, 0xF000
NONE = 0xFFFF
# asm/unistd.h, not a generated header, defines these.
ARM_EXTRA = {
    "breakpoint": 1, "cacheflush": 2, "usr26": 3, "usr32": 4, "set_tls": 5, "get_tls": 6,
}
ALIASES = {"ARM": {"sync_file_range2": "arm_sync_file_range"}}

DEFINE = re.compile(r"#define\s+__NR_(\w+)\s+\(?\s*(?:(\w+)\s*\+\s*)?(\d+)\s*\)?\s*$", re.M)


def read(path):
    bases = {"__NR_Linux", "__X32_SYSCALL_BIT", "__NR_SYSCALL_BASE", None}
    table = {}
    for name, base, number in DEFINE.findall(path.read_text()):
        if (base or None) not in bases:
            sys.exit(f"{path}: unknown base {base}")
        if not re.fullmatch(r"(unused|reserved)\d+", name):
            table[name] = int(number)
    return table


def version(tree):
    text = (tree.parent.parent.parent / "include/linux/version.h").read_text()
    return ".".join(re.search(rf"LINUX_VERSION_{part} (\d+)", text)[1]
                    for part in ("MAJOR", "PATCHLEVEL", "SUBLEVEL"))


def main(trees):
    columns = {}
    for column, (header, _) in COLUMNS.items():
        merged = columns[column] = {}
        for tree in trees:
            path = tree / header
            if not path.exists():
                continue
            for name, number in read(path).items():
                if merged.setdefault(name, number) != number:
                    sys.exit(f"{path}: {name} is {number}, but {merged[name]} elsewhere")
        if not merged:
            sys.exit(f"no tree has {header}")
        for name, of in ALIASES.get(column, {}).items():
            merged[name] = merged[of]
    for name, number in ARM_EXTRA.items():
        columns["ARM"][name] = ARM_SHORT + number

    names = sorted(set().union(*columns.values()))
    # 31-bit s390 ended before the newest calls came; give it their numbers all the same,
    # so that they count as uniform: nobody can make them there.
    newest = max(columns["S390"].values())
    for name in names:
        numbers = {c[name] for k, c in columns.items() if name in c and k != "S390"}
        if len(numbers) == 1 and newest < min(numbers) < ARM_SHORT:
            columns["S390"].setdefault(name, min(numbers))
    uniform = {}
    for name in names:
        numbers = {c.get(name) for c in columns.values()}
        if len(numbers) == 1 and min(numbers) >= UNIFIED:
            uniform[name] = numbers.pop()
    varied = [n for n in names if n not in uniform]
    ordered = varied + sorted(uniform, key=uniform.get)
    order = sorted(range(len(ordered)), key=lambda i: ordered[i].encode())

    out = []
    w = out.append
    w("// Written by tools/gen-tables.py from the kernel's exported headers, versions")
    w(f"// {', '.join(version(t) for t in trees)}. Do not edit.")
    w("")
    w("use super::Column;")
    w("")
    w("/// Every name, sorted, with no separator: [`ENDS`] cuts them.")
    blob = "".join(ordered[i] for i in order)
    w('pub(super) const NAMES: &str = "\\')
    for at in range(0, len(blob), 92):
        w("    " + blob[at:at + 92] + "\\")
    w('";')
    ends, at = [], 0
    for i in order:
        at += len(ordered[i])
        ends.append(at)

    def array(doc, vis, name, values):
        w("")
        w(f"/// {doc}")
        w("#[rustfmt::skip]")
        w(f"{vis} static {name}: [u16; {len(values)}] = [")
        line = "   "
        for v in values:
            piece = f" {v},"
            if len(line) + len(piece) > 99:
                w(line)
                line = "   "
            line += piece
        w(line)
        w("];")

    array("Where each name ends in [`NAMES`].", "pub(super)", "ENDS", ends)
    array("Each name's row: below the length of a column, an index into every column; from there\n"
          "/// on, into [`UNIFORM`].", "pub(super)", "ROWS", order)
    array("The numbers that are the same on every architecture (after its base).", "pub(super)",
          "UNIFORM", [uniform[n] for n in ordered[len(varied):]])
    # Many architectures differ in few numbers from another one: those are kept as that
    # column and a list of differences.
    full, size = {}, len(blob) + 2 * (2 * len(ends) + len(uniform))
    for column, table in columns.items():
        values = [table.get(n, NONE) for n in varied]
        base = COLUMNS[column][1]
        like, patch = None, []
        for other, theirs in full.items():
            differ = [(i, v) for i, (v, t) in enumerate(zip(values, theirs)) if v != t]
            if like is None or len(differ) < len(patch):
                like, patch = other, differ
        name = column
        if like is None or 4 * len(patch) > len(values):
            like, patch, full[column] = None, [], values
            array(f"65535: no such call.", "", f"{name}_NUMBERS", values)
            size += 2 * len(values)
        size += 4 * len(patch)
        array(f"Pairs of row and number.", "", f"{name}_PATCH", [x for p in patch for x in p])
        w("")
        w(f"pub(crate) static {name}: Column = Column {{")
        w(f"    base: {base:#x},")
        w(f"    numbers: &{like or name}_NUMBERS,")
        w(f"    patch: &{name}_PATCH,")
        w("};")
    print("\n".join(out))
    print(f"{len(names)} names, {len(uniform)} uniform, {size} bytes", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main([pathlib.Path(a) for a in sys.argv[1:]])
