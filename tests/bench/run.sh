#!/usr/bin/env bash
# Measures what docs/performance.md shows, and prints it as markdown, ready to be pasted.
#
#     tests/bench/run.sh [PART...]
#
#     engine                      engines in one process: CPU and allocations
#     simulate                    whole clusters in virtual time
#     api[-1|-1000|-10000]        one daemon with so many watchers, beside plain tonic
#     calls                       unary calls, events in, members out, beside plain tonic
#     cluster[-8|-32|-64]         so many daemons on loopback, beside serf
#     idle[-8|-32|-64]            what they cost when nothing happens; takes root
#     gone[-8|-32|-64]            a host is gone silently; takes root
#     sustained                   10,000 events a second for a minute
#     docker                      docker kill on a bridge; takes root and Docker
#
# Without a part all of them run, which takes about 40 minutes. A part that fails is
# named in the report and costs the others nothing.
#
#     MUSTERD=PATH    measures that daemon, as the one that deploy/static.sh builds
#     BENCH_QUICK=1   every step once, to see that it works: no figure counts
#     BENCH_PROFILE=  the profile of cargo, bench unless set; dev for a quick look
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

cargo=(cargo bench --locked --profile "${BENCH_PROFILE:-bench}" -p muster-tests)
"${cargo[@]}" --bench figures --bench allocations --no-run

code=0

# Alone and first: it counts instead of measuring time.
if [ $# = 0 ] || [[ " $* " == *" engine "* ]]; then
    "${cargo[@]}" --quiet --bench allocations || code=$?
fi

bench=("${cargo[@]}" --quiet --bench figures -- "$@")
if [ "$(id -u)" = 0 ] && unshare --net true 2>/dev/null; then
    unshare --net sh -c 'ip link set lo up && exec "$@"' sh "${bench[@]}" || code=$?
else
    "${bench[@]}" || code=$?
fi
exit "$code"
