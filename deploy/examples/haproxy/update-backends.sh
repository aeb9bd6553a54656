#!/bin/sh
# An event handler: HAProxy's backends are the members that serve a role.
#
#     musterd ... --event-handler \
#       'member-join,member-leave,member-failed,member-update=/etc/haproxy/update-backends.sh web'
#
# HAProxy runs in master-worker mode with the generated file as its last one:
#
#     haproxy -W -p /run/haproxy.pid -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/backends.cfg
#
# Settings, by environment: BACKENDS (the generated file) and PIDFILE (of HAProxy).
set -eu

role=$1
backends=${BACKENDS:-/etc/haproxy/backends.cfg}
pidfile=${PIDFILE:-/run/haproxy.pid}

# What the event says is not needed: the daemon knows who serves the role now. Two runs
# at once would only do the same work twice, the second one with the later truth.
exec 9>"$backends.lock"
flock 9

{
    echo "backend $role"
    muster resolve "$role" | awk 'NR > 1 { print "    server " $1 " " $2 " check" }'
} >"$backends.new"

if cmp -s "$backends.new" "$backends"; then
    exit
fi
mv "$backends.new" "$backends"
if [ -s "$pidfile" ]; then
    kill -USR2 "$(head -n 1 "$pidfile")"
fi
echo "$role: $(grep -c ' server ' "$backends" || true) backends"
