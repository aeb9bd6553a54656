#!/usr/bin/env bash
# Runs all tests of Muster, and installs what they need first.
#
#     tests/run.sh [ARGUMENTS OF cargo test]
#
# Needed: Rust (rustup), python3 with venv, Node with npm. On Debian and its
# children, as root, missing packages are installed; elsewhere they are named.
set -euo pipefail

cd "$(dirname "$0")/.."

if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi
if ! command -v cargo >/dev/null; then
    echo "run: cargo is missing: install Rust with rustup, see https://rustup.rs" >&2
    exit 1
fi

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
if [ ${#packages[@]} -gt 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        echo "run: installing ${packages[*]}" >&2
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "run: missing, by the names of Debian's packages: ${packages[*]}" >&2
        exit 1
    fi
fi

tests/setup.sh >/dev/null

if [ $# -gt 0 ]; then
    exec cargo test --locked "$@"
fi
exec cargo test --locked --workspace
