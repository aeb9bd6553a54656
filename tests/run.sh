#!/usr/bin/env bash
# Runs all tests of Muster, and installs what they need first.
#
#     tests/run.sh [ARGUMENTS OF cargo test]
#
# Needed: Rust (rustup). The rest is what tests/packages.sh and tests/setup.sh see to.
#
# Without arguments, a target whose tests start real daemons is given a second chance, by
# itself, where one of its tests failed: such tests wait in real time for what a machine
# that is busy with something else may not give them. What passes only then is named at
# the end. What must be the same on every machine has no second chance.
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

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Targets of the tests crate that run real processes.
real=(e2e parity failures docker network)

code=0
cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log" || code=$?
if [ "$code" = 0 ]; then
    exit
fi

# Names of the targets that failed, from cargo's last lines.
mapfile -t failed < <(sed -n 's/^ *`-p \([a-z-]*\) --\(lib\|test [a-z0-9_]*\|bin [a-z-]*\)`$/\1 \2/p;
    s/^error: test failed, to rerun pass `-p \([a-z-]*\) --\(lib\|test [a-z0-9_]*\|bin [a-z-]*\)`$/\1 \2/p' "$log" | sort -u)
if [ ${#failed[@]} = 0 ]; then
    exit "$code"
fi
for target in "${failed[@]}"; do
    chance=
    for name in "${real[@]}"; do
        [ "$target" = "muster-tests test $name" ] && chance=1
    done
    if [ -z "$chance" ]; then
        echo "run: failed: $target" >&2
        exit "$code"
    fi
done

# The failed tests of those targets, one at a time.
mapfile -t tests < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
for target in "${failed[@]}"; do
    name=${target##* }
    cargo test --locked -p muster-tests --test "$name" -- --exact --test-threads=1 "${tests[@]}"
done
echo "run: passed only when run again by themselves:" >&2
printf 'run:     %s\n' "${tests[@]}" >&2
