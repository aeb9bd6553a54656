#!/bin/sh
# Checks the unit: every key is known, and the sandbox does not get weaker.
# systemd-analyze rates the exposure from 0.0 (none) to 10.0.
set -eu
cd "$(dirname "$0")"

# In tenths. Raise it only with a reason in the change that does.
exposure_max=13

if ! command -v systemd-analyze >/dev/null; then
    echo "check.sh: systemd-analyze is missing; install systemd" >&2
    exit 1
fi

# `verify` wants the program to be there: it stands in for it in a copy.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -e "s|^ExecStart=/usr/bin/musterd|ExecStart=/bin/true|" \
    -e "s|^ExecReload=/usr/bin/muster |ExecReload=/bin/true |" musterd.service >"$work/musterd.service"
grep -q "^ExecStart=/bin/true" "$work/musterd.service"

# Without the flag an unknown key is only a warning.
systemd-analyze verify --recursive-errors=yes "$work/musterd.service"
report="$work/report"
if systemd-analyze security --no-pager --offline=true --threshold="$exposure_max" musterd.service >"$report"; then
    tail -n 1 "$report"
else
    cat "$report" >&2
    echo "check.sh: the exposure is above $exposure_max tenths" >&2
    exit 1
fi
