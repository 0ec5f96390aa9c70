#!/usr/bin/env bash
# Install what the build needs on Debian or Ubuntu; where that is not allowed, print the one line to run.
set -u
packages="build-essential cmake pkg-config libopenmpi-dev openmpi-bin libhdf5-dev zlib1g-dev libjansson-dev libpcre2-dev libutf8proc-dev libcmocka-dev $*"

have_all() {
    # Elsewhere (a cluster's modules), what counts is whether the build finds them.
    command -v dpkg-query >/dev/null || return 0
    for package in $packages; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || return 1
    done
}

have_all && exit 0
install="apt-get install -y --no-install-recommends $packages"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && $install
elif sudo -n true 2>/dev/null; then
    sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive $install
else
    echo "Some packages are missing. Please run: sudo apt-get update && sudo $install" >&2
    exit 1
fi
