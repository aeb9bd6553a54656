#!/usr/bin/env bash
# Builds musterd and muster without any shared library, so that they run in an image
# that holds nothing else. Prints the directory that they are in.
#
#     deploy/static.sh [PROFILE]      default: release
#
# Needed: Rust and the static C library (Debian: libc6-dev).
set -euo pipefail

cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi

profile=${1:-release}
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, build scripts and macros are built as usual.
RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --locked --profile "$profile" --target "$host" -p musterd -p muster >&2

directory=target/$host/$profile
[ "$profile" != dev ] || directory=target/$host/debug
for program in musterd muster; do
    if readelf --program-headers "$directory/$program" | grep -q INTERP; then
        echo "static: $program still asks for shared libraries" >&2
        exit 1
    fi
done
echo "$PWD/$directory"
