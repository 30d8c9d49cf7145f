#!/bin/sh
# Generates random secrets for compose.yaml in deploy/secrets. Existing secrets are kept.
#
# Containers run under different users, so the files are readable by everybody; the directory keeps others out.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# The value of a one-line secret, which is generated if it does not exist.
secret() {
  [ -s "$folder/$1" ] || random >"$folder/$1"
  cat "$folder/$1"
}

postgres=$(secret postgres_password)
operator=$(secret operator_token)
viewer=$(secret viewer_token)
metrics=$(secret metrics_token)
secret grafana_password >/dev/null

# libpq reads the password from here, so no environment that `docker inspect` shows contains it.
cat >"$folder/pg_service.conf" <<END
[pgsched]
host=postgres
port=5432
dbname=pgsched
user=pgsched
password=$postgres
END
cat >"$folder/web.env" <<END
PGSCHED_OPERATOR_TOKEN=$operator
PGSCHED_VIEWER_TOKEN=$viewer
PGSCHED_METRICS_TOKEN=$metrics
END
echo "secrets are in $folder; to log in to the dashboard: $folder/operator_token"
