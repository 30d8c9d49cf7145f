#!/bin/sh
# What `make chaos` needs beside Python packages: PgBouncer, for the row `pooler` of its table. Where it is missing,
# apt-get installs it, as root or by sudo; where that cannot be, the row is left out and the table says why.
set -u
PATH="$PATH:/usr/sbin"

without() { echo "make chaos: goes on without PgBouncer: $*"; exit 0; }

command -v pgbouncer >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || without "apt-get, which would install it, is not here"
if [ "$(id -u)" = 0 ]; then
  as_root="env"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
  as_root="sudo env"
else
  without "apt-get would need root, or sudo without a password"
fi
echo "Installing pgbouncer with apt-get"
$as_root apt-get update -qq || without "apt-get update failed"
# RUNLEVEL=1 asks the package not to start its service: the trials start a process of their own.
$as_root RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer >/dev/null \
  || without "apt-get could not install it"
