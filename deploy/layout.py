"""Prints server/layout.ld: deploy/layout.py PROGRAM CALLS... of callgrind, see deploy/layout.sh."""

import os
import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, capture_output=True, check=True).stdout.decode().splitlines()


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
        if kind in "tTwW":
            found.setdefault(address, set()).add(name.split(".")[0])
    return found


def called(path):
    """Functions that a run called."""
    with open(path, encoding="utf-8") as lines:
        return {found[1] for line in lines if (found := re.match(r"c?fn=\(\d+\) (\w+)", line))}


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


def members(needed):
    """Objects of the C library that hold functions: it has a section for each object."""
    library = output("cc", "-print-file-name=libc.a")[0]
    held = (line.split(":")[1:] for line in output("nm", "-A", "--defined-only", library) if " " in line)
    return sorted({member for member, symbol in held if symbol.split()[-1] in needed})


def main():
    program, *runs = sys.argv[1:]
    there = functions(program)
    calls = set().union(*map(called, runs))
    needed = set().union(*(names for names in there.values() if names & calls))
    rust = {masked(name) for name in filter(is_rust, needed)}
    others = {masked(name) for names in there.values() for name in filter(is_rust, names)} - rust
    print("/* Made by deploy/layout.sh: what a daemon calls, next to each other. */")
    print("SECTIONS {\n  .text.used : {")
    for prefix in prefixes(rust, others):
        print(f"    *(.text*.{prefix}*)")
    for member in members(needed - rust):
        print(f"    *libc.a:{member}(.text .text.*)")
    print("  }\n} INSERT BEFORE .text;")


main()
