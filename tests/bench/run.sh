#!/usr/bin/env bash
# Measures what docs/performance.md shows, and prints it as markdown.
#
#     tests/bench/run.sh [engine] [simulate] [api] [cluster]
#
# Needed: Rust. serf, the peer of `cluster`, is installed from Debian's packages when
# it is missing and we are root. As root the bench runs in a network namespace of its
# own, so that nobody else's loopback traffic is counted.
set -euo pipefail

cd "$(dirname "$0")/../.."

if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
    . "$HOME/.cargo/env"
fi

if ! command -v serf >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "run: installing serf" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends serf >/dev/null
fi

cargo bench --locked -p muster-tests --bench figures --no-run
bench=(cargo bench --locked --quiet -p muster-tests --bench figures -- "$@")

if [ "$(id -u)" = 0 ] && unshare --net true 2>/dev/null; then
    exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh "${bench[@]}"
fi
exec "${bench[@]}"
