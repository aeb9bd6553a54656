#!/usr/bin/env bash
# Builds the two images: muster, the programs alone, and muster-shell, with a shell for
# handlers and in place of serfnode's. No image is pulled: both begin at nothing.
#
#     deploy/image.sh [--import] [--binaries DIR] [--profile PROFILE] [IMAGE...]
#
# --import    make them by `docker import` instead of `docker build`
# --binaries  take musterd and muster, static, from there instead of building them
# --profile   of the build; default: image, which must fit into 15 MiB
#
# DOCKER names the command, default `docker`. Needed: Docker; for muster-shell a static
# busybox (Debian: busybox-static), which BUSYBOX names, default: that in PATH.
set -euo pipefail

cd "$(dirname "$0")/.."

# Largest muster image, bytes.
most=$((15 * 1024 * 1024))

profile=image
binaries=
import=
images=()
while [ $# -gt 0 ]; do
    case $1 in
        --import) import=1 ;;
        --binaries) binaries=$2; shift ;;
        --profile) profile=$2; shift ;;
        muster | muster-shell) images+=("$1") ;;
        *) echo "image: unknown argument $1" >&2; exit 2 ;;
    esac
    shift
done
[ ${#images[@]} -gt 0 ] || images=(muster muster-shell)
read -ra docker <<<"${DOCKER:-docker}"
[ -n "$binaries" ] || binaries=$(deploy/static.sh "$profile")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The tree that an image holds, in $work/IMAGE/root and $work/IMAGE/run.
tree() {
    local image=$1 root=$work/$1/root
    mkdir -p "$root"/{bin,etc/muster,tmp} "$work/$image/run/muster"
    chmod 1777 "$root/tmp"
    # A link stays one: one file may be both.
    cp -P "$binaries/musterd" "$binaries/muster" "$root/bin/"
    ln -s musterd "$root/bin/serf"
    cp "deploy/docker/$image/musterd.toml" "$root/etc/muster/"
    printf 'root:x:0:0:root:/:/bin/sh\nmuster:x:10001:10001:muster:/:/bin/false\n' >"$root/etc/passwd"
    printf 'root:x:0:\nmuster:x:10001:\n' >"$root/etc/group"
    [ "$image" = muster-shell ] || return 0
    local busybox=${BUSYBOX:-$(command -v busybox)}
    cp -L "$busybox" "$root/bin/busybox"
    local applet
    for applet in $("$busybox" --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    mkdir -p "$root/serfnode" "$root/handlers"
    cp "deploy/docker/$image/serfnode.yml" "$root/"
    ln -s bin/muster "$root/me"
}

# The same image without a build: the lines of the Dockerfile as changes.
import() {
    local image=$1 owner=0 changes=() line
    [ "$image" = muster-shell ] || owner=10001
    while read -r line; do
        changes+=(--change "$line")
    done < <(grep -E '^(ENV|USER|EXPOSE|VOLUME|ENTRYPOINT) ' "deploy/docker/$image/Dockerfile")
    tar -C "$work/$image/root" --owner=0 --group=0 --numeric-owner -cf "$work/$image.tar" .
    tar -C "$work/$image" --owner=$owner --group=$owner --numeric-owner -rf "$work/$image.tar" run
    "${docker[@]}" import "${changes[@]}" "$work/$image.tar" "$image:$version" >/dev/null
}

for image in "${images[@]}"; do
    tree "$image"
    if [ -n "$import" ]; then
        import "$image"
    else
        cp "deploy/docker/$image/Dockerfile" "$work/$image/"
        # Either builder: nothing is fetched.
        "${docker[@]}" build --quiet --tag "$image:$version" "$work/$image" >/dev/null
    fi
    "${docker[@]}" tag "$image:$version" "$image:latest"
    size=$("${docker[@]}" image inspect --format '{{.Size}}' "$image:$version")
    echo "$image:$version $size bytes"
    if [ "$image" = muster ] && [ "$profile" = image ] && [ "$size" -gt "$most" ]; then
        echo "image: $image has more than $most bytes" >&2
        exit 1
    fi
done
