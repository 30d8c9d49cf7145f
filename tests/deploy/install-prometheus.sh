#!/bin/sh
# What the tests of deploy/prometheus need beside Python packages: prometheus and promtool. Where they are missing, the
# package of Debian is fetched with apt-get and its two programs are put into the folder that is given, no more: nothing is
# installed, no service begins, and only a machine without package lists asks for root, to fetch those. Where it cannot be,
# the tests are passed by and say so; this script never fails.
set -u
into="$1"

without() { echo "make test: goes on without Prometheus: $*"; exit 0; }
have() { command -v "$1" >/dev/null 2>&1 || [ -x "$into/$1" ]; }

have prometheus && have promtool && exit 0
command -v apt-get >/dev/null 2>&1 || without "apt-get, which would fetch it, is not here"
command -v dpkg-deb >/dev/null 2>&1 || without "dpkg-deb, which would unpack it, is not here"
folder="$(mktemp -d)" || without "no folder to unpack it in"
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"

fetch() { (cd "$folder" && apt-get download -qq prometheus >/dev/null 2>&1); }
echo "Fetching prometheus with apt-get"
if ! fetch; then
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo env"
  else
    without "apt-get update would need root, or sudo without a password"
  fi
  $as_root apt-get update -qq >/dev/null 2>&1 || without "apt-get update failed"
  fetch || without "apt-get could not fetch it"
fi
dpkg-deb -x "$folder"/prometheus_*.deb "$folder/unpacked" || without "it could not be unpacked"
cp "$folder/unpacked/usr/bin/prometheus" "$folder/unpacked/usr/bin/promtool" "$into/" || without "$into takes no files"
"$into/promtool" --version >/dev/null 2>&1 || { rm -f "$into/prometheus" "$into/promtool"; without "it does not run here"; }
