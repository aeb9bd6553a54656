"""Prints server/layout.ld: deploy/layout.py PROGRAM CALLS... [-- PROGRAM CALLS...], see
deploy/layout.sh."""

import os
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()


# Of the C library; valgrind begins after some of it and hides the kernel's own object.
BEFORE_MAIN = {"__libc_start_main", "_dl_new_object", "_dl_setup_hash"}


def is_rust(name):
    """Rust's own names (v0 mangling)."""
    return name.startswith("_R")


def masked(name):
    """A crate's name carries a hash that changes with its version, but seldom its length."""
    return re.sub(r"Cs([0-9A-Za-z]+)(?=_|$)", lambda found: "Cs" + "?" * len(found[1]), name)


def functions(program):
    """Names of the functions of a program by address: equal ones are one. What LLVM appends
    to a name is left out."""
    found = {}
    for line in output("nm", "--defined-only", program):
        address, kind, name = line.split()
        if kind in "tTwWi":
            found.setdefault(address, set()).add(name.split(".")[0])
    return found


def chosen(program):
    """Functions of which a variant for this processor is chosen when a program starts."""
    return {line.split()[-1] for line in output("nm", "--defined-only", program) if " i " in line}


def called(path):
    """Functions that a run called."""
    with open(path, encoding="utf-8") as lines:
        return {found[1] for line in lines if (found := re.match(r"c?fn=\(\d+\) (\w+)", line))}


def unseen(names):
    """Whether valgrind does not show that this is called: it comes before `main`, or is for
    instructions that valgrind's processor lacks."""
    return any(name in BEFORE_MAIN or "x86_sha" in name for name in names)


def prefixes(needed, there):
    """As much of each needed name as none of the others begins with."""
    names = sorted(there | needed)
    enough = dict.fromkeys(needed, 1)
    for sequence in (names, names[::-1]):
        other = ""
        for name in sequence:
            if name in needed:
                common = len(os.path.commonprefix([name, other]))
                enough[name] = max(enough[name], common + 1)
            else:
                other = name
    return sorted({name[: enough[name]] for name in needed})


def members(library, needed):
    """Objects of a part of the C library that hold functions: it has a section for each
    object."""
    path = output("cc", f"-print-file-name={library}.a")[0]
    with open(path, "rb") as opened:
        if not opened.read(8).startswith(b"!<arch>"):
            # Says which files it consists of.
            with open(path, encoding="utf-8") as script:
                path = re.search(rf"\S+/{library}\S*\.a", script.read())[0]
    found, choices = set(), set()
    for line in output("nm", "-A", "--defined-only", path):
        _, member, symbol = line.split(":")
        kind, name = symbol.split()[-2:]
        if name in needed:
            found.add(member)
        if kind == "i" or "-avx" in member:
            choices.add(member)
    for member in found & choices:
        # Newer processors than valgrind's choose these.
        stem = re.split("[-.]", member)[0]
        found |= {f"{stem}-evex*.o", f"{stem}-avx512*.o"}
    return sorted(f"*{os.path.basename(path)}:{member}" for member in found)


def traced(program, *runs):
    """Functions of a program that runs called, and the others of it."""
    there = functions(program)
    calls = set().union(chosen(program), *map(called, runs))
    needed = set().union(*(names for names in there.values() if names & calls or unseen(names)))
    return needed, set().union(*there.values()) - needed


def groups(arguments):
    """Arguments between `--`."""
    found = [[]]
    for argument in arguments:
        if argument == "--":
            found.append([])
        else:
            found[-1].append(argument)
    return [group for group in found if group]


def main():
    runs = [traced(*group) for group in groups(sys.argv[1:])]
    needed = set().union(*(needed for needed, _ in runs))
    rust = {masked(name) for name in filter(is_rust, needed)}
    others = {masked(name) for _, rest in runs for name in filter(is_rust, rest)} - rust
    print("/* Made by deploy/layout.sh: what a daemon calls, next to each other. */")
    print("SECTIONS {\n  .text.used : {")
    for prefix in prefixes(rust, others):
        print(f"    *(.text*.{prefix}*)")
    print("    *(.text.main)")
    for library in ("libc", "libm"):
        for member in members(library, needed - rust):
            print(f"    {member}(.text .text.*)")
    print("  }\n} INSERT BEFORE .text;")


main()
