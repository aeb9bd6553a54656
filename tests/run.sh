#!/usr/bin/env bash
# Runs all tests of Muster, and installs what they need first.
#
#     tests/run.sh [ARGUMENTS OF cargo test]
#
# Needed: Rust (rustup). The rest is what tests/packages.sh and tests/setup.sh see to.
set -euo pipefail

cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "run: cargo is missing: install Rust with rustup, see https://rustup.rs" >&2
    exit 1
fi

tests/packages.sh
tests/setup.sh >/dev/null
# What containers of the tests run.
deploy/static.sh dev >/dev/null

if [ $# -gt 0 ]; then
    exec cargo test --locked "$@"
fi
exec cargo test --locked --workspace --no-fail-fast
