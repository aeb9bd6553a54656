#!/usr/bin/env bash
# Sees to the programs that the tests need, beside Rust. On Debian and its children,
# as root, missing packages are installed; elsewhere they are named.
#
#     tests/packages.sh
set -euo pipefail

packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3 python3-venv)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v flock >/dev/null || packages+=(util-linux)
command -v systemd-analyze >/dev/null || packages+=(systemd)
# The peer whose scripts are to work here too, and a load balancer that follows members.
command -v serf >/dev/null || packages+=(serf)
command -v haproxy >/dev/null || packages+=(haproxy)
# Engines, networks and images for the tests on Docker.
command -v dockerd >/dev/null || packages+=(docker.io)
command -v ip >/dev/null || packages+=(iproute2)
command -v iptables >/dev/null || packages+=(iptables)
busybox 2>/dev/null | grep -q 'BusyBox' && [ -x /bin/busybox ] || packages+=(busybox-static)
# A clock that stands wrong, for one daemon.
command -v faketime >/dev/null || packages+=(faketime)
# The peer whose interfaces are kept.
command -v serf >/dev/null || packages+=(serf)
if [ ${#packages[@]} -eq 0 ]; then
    exit
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "packages: missing, by the names of Debian's packages: ${packages[*]}" >&2
    exit 1
fi
echo "packages: installing ${packages[*]}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
