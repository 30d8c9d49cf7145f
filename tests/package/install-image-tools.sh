#!/bin/sh
# What test_image.py builds and runs an image with: buildah, runc and mmdebstrap, by apt-get and as root. Where they cannot be
# had, the tests are skipped and say so; this script never fails.
set -u
have() { command -v "$1" >/dev/null 2>&1; }
have buildah && have runc && have mmdebstrap && exit 0
have apt-get || { echo "make test-image: apt-get, which would install buildah and runc, is not here"; exit 0; }
echo "Installing buildah, runc and mmdebstrap with apt-get"
install() { apt-get install -y -qq --no-install-recommends buildah runc mmdebstrap >/dev/null 2>&1; }
install || { apt-get update -qq >/dev/null 2>&1; install; } || echo "make test-image: apt-get could not install them"
