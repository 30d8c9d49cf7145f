#!/bin/sh
# Makes the secrets of compose.yaml in deploy/secrets, each of them by chance. What is there already stays as it is.
#
# Containers run under users of their own, so the files can be read by everybody: the folder keeps others out.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 022
mkdir -p "$folder"
chmod 700 "$folder"

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# The value of a secret that is one line: made when it is not there yet.
secret() {
  [ -s "$folder/$1" ] || random >"$folder/$1"
  cat "$folder/$1"
}

postgres=$(secret postgres_password)
operator=$(secret operator_token)
viewer=$(secret viewer_token)
metrics=$(secret metrics_token)
secret grafana_password >/dev/null

# libpq reads the password from here: no DSN with a password is in an environment that `docker inspect` shows.
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
