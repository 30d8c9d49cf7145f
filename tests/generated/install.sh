#!/bin/sh
# What `make test-generated` needs beside Python packages: npm with TypeScript and pg, and Go with lib/pq from apt-get.
# Go is left out where it cannot be had: its test then says so. A second run does nothing.
set -eu
cd "$(dirname "$0")"

have() { command -v "$1" >/dev/null 2>&1; }
say() { echo "make test-generated: $*" >&2; }
PQ=/usr/share/gocode/src/github.com/lib/pq

missing=""
have npm || missing="npm"
{ have go && [ -d "$PQ" ]; } || missing="$missing golang-go golang-github-lib-pq-dev"

if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif have sudo && sudo -n true 2>/dev/null; then
    as_root="sudo env"
  else
    as_root=""
  fi
  if have apt-get && [ -n "$as_root" ]; then
    echo "Installing $missing with apt-get"
    { $as_root apt-get update -qq \
      && $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; } \
      || say "apt-get could not install $missing"
  else
    say "$missing is missing, and apt-get, which would install it, is not here or would need root"
  fi
fi

have npm || { say "npm is missing"; exit 1; }
# npm writes node_modules/.package-lock.json last.
if [ ! node/node_modules/.package-lock.json -nt node/package-lock.json ]; then
  echo "Installing TypeScript and pg into tests/generated/node"
  npm ci --prefix node --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null \
    || { say "npm ci failed"; exit 1; }
  touch node/node_modules/.package-lock.json
fi
