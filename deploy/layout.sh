#!/usr/bin/env bash
# Writes server/layout.ld: the functions that a daemon calls when it starts, idles and is
# asked, so that the linker puts them next to each other. Otherwise they are spread over
# the whole program, and nearly all of it is in memory: the kernel maps 64 KiB around each.
#
#     deploy/layout.sh [PROGRAM...]
#
# PROGRAM: musterd with its symbols and muster beside it, by default the static build, made
# here in ten minutes. Several builds share one file: each inlines something else.
#
# To be run now and then: functions that the file does not know, or that are gone, only
# make it a little less good.
#
# Needed: valgrind, python3, nm (Debian: binutils), and what deploy/static.sh needs.
set -euo pipefail

cd "$(dirname "$0")/.."

for tool in valgrind python3 nm; do
    command -v "$tool" >/dev/null || { echo "layout: $tool is missing" >&2; exit 1; }
done

programs=("$@")
if [ $# = 0 ]; then
    programs=("$(CARGO_PROFILE_RELEASE_STRIP=none deploy/static.sh)/musterd")
fi

# Seconds of it: the first exchanges that come by time are among them.
idles=90

all=$(mktemp -d)
daemons=()
traced=()
stop() {
    kill "${daemons[@]}" 2>/dev/null || true
    wait
    daemons=()
    traced=()
}
trap 'stop; rm -rf "$all"' EXIT

# Starts a daemon: its name, what runs it, whom it joins.
start() {
    local name=$1
    shift
    mkdir "$work/$name"
    "$@" --name "$name" --bind 127.0.0.1:0 --key-file "$work/key" --role web \
        --socket "$work/$name/socket" --data-dir "$work/$name/data" >"$work/$name/log" 2>&1 &
    daemons+=($!)
}

# The same under valgrind, which makes it some fifty times slower.
trace() {
    local name=$1
    shift
    start "$name" valgrind --tool=callgrind --demangle=no \
        "--callgrind-out-file=$work/calls-$name" "$work/musterd" "$@"
    traced+=($!)
}

muster() {
    local name=$1
    shift
    "$work/muster" --socket "$work/$name/socket" "$@" >/dev/null
}

# Traces three daemons of a program through what happens to them: into $work.
run() {
    local program=$1 seed
    ln -s "$(realpath "$program")" "$work/musterd"
    ln -s "$(dirname "$(realpath "$program")")/muster" "$work/muster"
    "$work/muster" keygen >"$work/key"
    chmod 600 "$work/key"

    trace seed
    until muster seed health 2>/dev/null; do
        kill -0 "${traced[0]}" || { cat "$work/seed/log" >&2; exit 1; }
        sleep 0.2
    done
    seed=$("$work/muster" --socket "$work/seed/socket" members | awk 'NR == 2 { print $3 }')
    # All at once: a cluster that forms is where most happens. More than one node of a map
    # holds, so that the code of deeper ones is called.
    for name in one two $(seq 3 24); do
        start "$name" "$work/musterd" --join "$seed"
    done
    trace early --join "$seed"
    sleep 30
    trace late --join "$seed"
    muster early wait --members 27 --timeout 60s
    sleep "$idles"

    for name in seed early; do
        (
            timeout 30 "$work/muster" --socket "$work/$name/socket" watch members || true
            timeout 30 "$work/muster" --socket "$work/$name/socket" watch events || true
        ) >/dev/null 2>&1 &
        for call in members "event hello world" "resolve web" info health "keys list" \
            "tags --set a=1" "explain one" "rtt one"; do
            # Words of a call.
            # shellcheck disable=SC2086
            muster "$name" $call || echo "layout: muster $call failed" >&2
        done
    done
    muster one event from-another
    # One dies, one leaves, one comes back.
    kill -9 "${daemons[1]}"
    muster two leave
    sleep 5
    rm -rf "$work/one"
    start one "$work/musterd" --join "$seed"
    sleep 20

    callgrind_control --dump "${traced[@]}" >/dev/null
    stop
}

runs=()
for program in "${programs[@]}"; do
    work=$all/${#runs[@]}
    mkdir "$work"
    run "$program"
    runs+=("$program" "$work"/calls-*.1 --)
done
python3 deploy/layout.py "${runs[@]}" >"$all/layout.ld"
cp "$all/layout.ld" server/layout.ld
wc -l server/layout.ld
