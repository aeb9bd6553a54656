#!/usr/bin/env bash
# Two Docker engines on one machine, each with a node and its children: shows an event
# that a child writes, and names in /etc/hosts that follow a death. docs/two-engines.md
# holds what it prints.
#
#     deploy/examples/two-engines/run.sh [--binaries DIR]
#
# --binaries  take musterd and muster, static, from there instead of building them
#
# Needed: root, Docker's dockerd and docker, iproute2, util-linux, a static busybox
# (Debian: docker.io, busybox-static), and Rust unless there are binaries. Both engines
# live in namespaces of their own, like hosts; nothing is left of them at the end.
set -euo pipefail

example=$(cd "$(dirname "$0")" && pwd)

# Seconds that anything here may take.
patience=120

binaries=
while [ $# -gt 0 ]; do
    case $1 in
        --binaries) binaries=$(cd "$2" && pwd); shift ;;
        *) echo "two-engines: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
[ -n "$binaries" ] || binaries=$("$example/../../static.sh" dev)
[ "$(id -u)" = 0 ] || { echo "two-engines: it takes root to start engines" >&2; exit 1; }

work=$(mktemp -d)
# Name of everything that outlives a process.
tag=two-engines-$$
declare -A address=([a]=192.0.2.1 [b]=192.0.2.2)
# First process of each host, once it runs.
declare -A host=()

# Whatever happened: containers first, so that the engines tidy up after them.
clean() {
    local one pid
    set +e
    trap '' INT TERM
    for one in "${!host[@]}"; do
        pid=${host[$one]}
        on "$one" 'docker ps -q | xargs -r docker kill' >/dev/null 2>&1
        kill -TERM "$(inside "$one")" 2>/dev/null
        # The last process of the host is its end.
        timeout "$patience" tail --pid="$pid" -f /dev/null || kill -KILL "$pid"
    done
    for one in a b; do
        ip netns del "$tag-$one" 2>/dev/null
    done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# dockerd of a host, the one child of what holds its namespaces.
inside() {
    local pid=${host[$1]}
    tr -d ' ' <"/proc/$pid/task/$pid/children"
}

# Runs a line on a host.
on() {
    local pid
    pid=$(inside "$1")
    timeout "$patience" nsenter --target "$pid" --net --mount --uts --pid \
        env PATH="$binaries:$PATH" sh -c "cd /srv && $2"
}

# Runs a line on a host and shows both, as in a terminal.
show() {
    echo "host-$1\$ $2"
    on "$@" 2>&1
}

# Waits until a line on a host succeeds.
until_on() {
    local until=$((SECONDS + patience))
    until on "$@" >"$work/last" 2>&1; do
        if [ "$SECONDS" -ge "$until" ]; then
            echo "two-engines: host-$1: this does not come true: $2" >&2
            tail -n 20 "$work/last" "$work/$1/log" >&2
            exit 1
        fi
        sleep 0.2
    done
}

title() {
    [ "$1" = 1 ] || echo
    echo "# $1. $2"
}

# A host: a network, a name, directories and an engine of its own.
boot() {
    local one=$1 net=$tag-$1 at=$work/$1
    mkdir -p "$at"/{docker,etc,srv} /var/lib/docker /etc/docker /srv
    cp "$example/serfnode.yml" "$example/deploy" "$at/srv/"
    # Out of reach of Ctrl-C: `clean` ends it.
    setsid setpriv --pdeathsig KILL nsenter --net="/run/netns/$net" \
        unshare --mount --uts --pid --fork --kill-child --propagation slave sh -c "
            mount -t proc proc /proc
            mount -t tmpfs tmpfs /run
            mount --bind $at/docker /var/lib/docker
            mount --bind $at/etc /etc/docker
            mount --bind $at/srv /srv
            hostname host-$one
            exec dockerd" >"$at/log" 2>&1 &
    host[$one]=$!
    until_on "$one" 'docker version'
    DOCKER="nsenter --target $(inside "$one") --net --mount docker" \
        "$example/../../image.sh" --profile dev --binaries "$binaries" --import muster-shell >/dev/null
}

# A network of two hosts.
for one in a b; do
    ip netns add "$tag-$one"
    ip -n "$tag-$one" link set lo up
done
ip -n "$tag-a" link add eth0 type veth peer name eth0 netns "$tag-b"
for one in a b; do
    ip -n "$tag-$one" address add "${address[$one]}/24" dev eth0
    ip -n "$tag-$one" link set eth0 up
done
boot a
boot b
MUSTER_TOKEN=$("$binaries/muster" token --cluster shop --seed 192.0.2.1:7946)
export MUSTER_TOKEN

# Waits until so many children of a node have all that they should.
delivered() {
    until_on "$1" "[ \"\$(docker exec $2 muster containers --node $2 | grep -c ' delivered')\" = $3 ]"
}

# Starts the node of a host and waits for its children.
node() {
    local ip=${address[$1]}
    show "$1" "muster run -d --name $2 -p $ip:7946:7946 -p $ip:7946:7946/udp -p $ip:8080:80 \\
    -v /srv/deploy:/handlers/deploy -v /var/lib/docker/containers:/var/lib/docker/containers \\
    muster-shell serfnode.yml >/dev/null"
    delivered "$1" "$2" 2
}

title 1 'A node on each engine, with the same two children and the same handler'
show a 'cat serfnode.yml'
show a 'cat deploy'
node a n1
node b n2
show b 'docker exec n2 muster wait --members 2'

title 2 'Two more children, by a label alone'
show b 'docker run -d --name report -l muster.child --entrypoint sleep muster-shell 1000000 >/dev/null'
show b 'docker run -d --name sealed --read-only -l muster.child --entrypoint sleep muster-shell 1000000 >/dev/null'
delivered b n2 3
until_on a 'docker exec n1 muster containers --name sealed | grep undeliverable'
until_on a '[ "$(docker exec n1 muster containers | grep -c " delivered")" = 5 ]'

title 3 'Members, and the containers of all, from any node'
show a 'docker exec n1 muster members'
show a 'docker exec n1 muster containers'

title 4 'One event, written by a child, and what the handlers made of it'
show b "docker exec \$(docker ps -qf label=muster.child=app) sh -c 'echo \"[\\\"deploy\\\", {\\\"version\\\": 7}]\" >/serfnode/parent'"
for one in a b; do
    name=n1
    [ "$one" = a ] || name=n2
    until_on "$one" "docker exec $name cat /tmp/deployed"
    show "$one" "docker exec $name cat /tmp/deployed"
done
show a 'docker exec n1 muster watch events --replay --count 1 deploy'
show a 'docker exec n1 muster watch events --replay --count 2 began'

title 5 'A role is a name in /etc/hosts: that of its oldest member'
hosts() {
    show b 'for one in $(docker ps --format "{{.Names}}" | sort); do
    echo "$one: $(docker exec $one grep "^[0-9].* web" /etc/hosts)"
done'
    show b 'docker exec report wget -qO- http://web:8080/'
}
hosts

title 6 'The oldest dies'
show a 'docker kill n1'
until_on b 'for one in $(docker ps -q); do
    [ "$(docker exec $one grep -o "^[0-9.]* web " /etc/hosts)" = "192.0.2.2 web " ] || exit 1
done'
hosts
show b 'docker exec n2 muster members'
show b 'docker exec n2 muster containers --node n1'

title 7 'It comes back, and is the youngest now'
show a 'docker start n1'
# Its children are started again, into its new network.
until_on a '[ "$(docker inspect -f "{{.State.StartedAt}} {{.Name}}" $(docker ps -q) | sort | head -n 1 | grep -o /n1)" = /n1 ]'
delivered a n1 2
until_on b '[ "$(docker exec n2 muster containers --node n1 | grep -c " delivered")" = 2 ]'
until_on b 'docker exec n2 muster resolve web | grep 192.0.2.1'
show b 'docker exec n2 muster resolve web'
show b 'docker exec report wget -qO- http://192.0.2.1:8080/'
show b 'docker exec n2 muster containers --node n1'
show a 'docker exec n1 cat /etc/hosts'
