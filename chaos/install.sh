#!/bin/sh
# What `make chaos` needs beside Python packages: PgBouncer and Pgpool-II for the rows with poolers, Patroni, etcd,
# HAProxy and PostgreSQL 15 for those with a cluster, pg_repack for maintenance, libfaketime for wrong clocks. What is
# missing is installed by apt-get, as root or by sudo; where that cannot be, these rows are left out and the table says
# why.
set -u
PATH="$PATH:/usr/sbin:/usr/lib/postgresql/15/bin"

without() { echo "make chaos: goes on without $missing: $*"; exit 0; }

missing=""
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need pgbouncer pgbouncer
need pgpool pgpool2
need patroni patroni
need etcd etcd-server
need haproxy haproxy
need pg_rewind postgresql-15
need pg_repack postgresql-15-repack
need faketime faketime
[ -z "$missing" ] && exit 0
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
# RUNLEVEL=1 asks the packages not to start their services: the trials start processes of their own. One by one, as a
# system may have some of them only.
wanted="$missing"
for missing in $wanted; do
  $as_root RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$missing" \
    >/dev/null || (without "apt-get could not install it")
done
