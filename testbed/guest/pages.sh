#!/bin/bash
# pages.sh FOLDER: noVNC's pages into FOLDER. They come out of Debian's package, which installed would bring a runtime.
# Safe to repeat.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
folder=$(realpath -m "$1")
[ ! -d "$folder" ] || exit 0
work=$(mktemp -d "${TMPDIR:-/tmp}/testbed-pages.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -o Acquire::Retries=5 -qq download novnc 2> download.log || { cat download.log >&2; exit 1; }
dpkg-deb -x novnc_*.deb .
rm -rf "$folder.new"
mkdir -p "$(dirname "$folder")"
cp -r usr/share/novnc "$folder.new"
mv "$folder.new" "$folder"
