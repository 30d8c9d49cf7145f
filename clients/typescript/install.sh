#!/bin/sh
# What the tests of the TypeScript worker need: Node.js and npm, the packages of package-lock.json, and dist/ as it is
# compiled. Where node or npm is missing, apt-get installs it, as root or by sudo. A second run does nothing.
set -eu
cd "$(dirname "$0")"

have() { command -v "$1" >/dev/null 2>&1; }
stop() { echo "clients/typescript: $*" >&2; exit 1; }

missing=""
have node || missing="nodejs"
have npm || missing="$missing npm"
if [ -n "$missing" ]; then
  have apt-get || stop "install $missing first: apt-get is not here to do it"
  if [ "$(id -u)" = 0 ]; then
    as_root="env"
  elif have sudo && sudo -n true 2>/dev/null; then
    as_root="sudo env"
  else
    stop "install $missing first: apt-get would need root, or sudo without a password"
  fi
  echo "Installing $missing with apt-get"
  $as_root apt-get update -qq || stop "apt-get update failed"
  $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null \
    || stop "apt-get could not install $missing"
fi

# npm writes node_modules/.package-lock.json last.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  echo "Installing the packages of clients/typescript"
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || stop "npm ci failed"
  touch node_modules/.package-lock.json
fi
if [ ! -e dist/index.js ] || [ -n "$(find src tsconfig.json node_modules/.package-lock.json -newer dist/index.js)" ]; then
  echo "Compiling clients/typescript"
  rm -rf dist
  npm run --silent build || stop "tsc failed"
  touch dist/index.js
fi
