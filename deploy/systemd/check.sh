#!/bin/sh
# Checks the unit: every key is known, and the sandbox does not get weaker.
# systemd-analyze rates the exposure from 0.0 (none) to 10.0.
set -eu
cd "$(dirname "$0")"

# In tenths. Raise it only with a reason in the change that does.
exposure_max=15

if ! command -v systemd-analyze >/dev/null; then
    echo "check.sh: systemd-analyze is missing; install systemd" >&2
    exit 1
fi

# `verify` wants the program to be there: it stands in for it in a copy.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed "s|^ExecStart=/usr/bin/musterd|ExecStart=$(command -v true)|" musterd.service >"$work/musterd.service"
grep -q "^ExecStart=$(command -v true)" "$work/musterd.service"

# Without the flag an unknown key is only a warning.
systemd-analyze verify --recursive-errors=yes "$work/musterd.service"
systemd-analyze security --no-pager --offline=true --threshold="$exposure_max" musterd.service
