#!/bin/sh
# What `make chaos` needs beside Python packages: PgBouncer, Pgpool-II and libfaketime, for some rows of its table. Where
# one is missing, apt-get installs it, as root or by sudo; where that cannot be, its rows are left out and the table says
# why.
set -u
PATH="$PATH:/usr/sbin"

without() { echo "make chaos: goes on without$missing: $*"; exit 0; }

missing=""
command -v pgbouncer >/dev/null 2>&1 || missing="$missing pgbouncer"
command -v pgpool >/dev/null 2>&1 || missing="$missing pgpool2"
command -v faketime >/dev/null 2>&1 || missing="$missing faketime"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || without "apt-get, which would install it, is not here"
if [ "$(id -u)" = 0 ]; then
  as_root="env"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo env"
else
  without "apt-get would need root, or sudo without a password"
fi
echo "Installing$missing with apt-get"
$as_root apt-get update -qq || without "apt-get update failed"
# RUNLEVEL=1 asks the packages not to start their services: the trials start processes of their own.
# shellcheck disable=SC2086
$as_root RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null \
  || without "apt-get could not install it"
