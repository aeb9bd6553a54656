#!/usr/bin/env bash
# Builds musterd and muster as one static program that needs nothing of the system it runs
# on, with a link for the second name, and prints the directory that holds them.
#
#     deploy/static.sh [PROFILE]      default: release; image: for size
#
# Needed: Rust and the static C library (Debian: libc6-dev).
set -euo pipefail

cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi

profile=${1:-release}
host=$(rustc -vV | sed -n 's/^host: //p')
flags="-C target-feature=+crt-static"
if [ "$host" = x86_64-unknown-linux-gnu ]; then
    # As in .cargo/config.toml, which RUSTFLAGS replaces.
    flags+=" -C symbol-mangling-version=v0"
    # Less is inlined than is usual at this level (250 and 325): a quarter less code, for a
    # tenth more time at the API. What is resident of an idle daemon is mostly code.
    flags+=" -C llvm-args=-inline-threshold=60 -C llvm-args=-inlinehint-threshold=120"
    # Relocations in a form that is a hundred times smaller, if the C library knows it.
    if printf '2.36\n%s\n' "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort -VC; then
        flags+=" -C link-arg=-Wl,-z,pack-relative-relocs"
    fi
fi
# With a target named, build scripts and macros are built as usual.
RUSTFLAGS=$flags cargo build --locked --profile "$profile" --target "$host" \
    -p musterd --features musterd/muster >&2

directory=${CARGO_TARGET_DIR:-$PWD/target}/$host/$profile
[ "$profile" != dev ] || directory=${directory%/dev}/debug
ln -sf musterd "$directory/muster"
if readelf --program-headers "$directory/musterd" | grep -q INTERP; then
    echo "static: musterd still asks for shared libraries" >&2
    exit 1
fi
echo "$directory"
