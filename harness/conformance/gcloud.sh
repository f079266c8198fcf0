#!/bin/sh
# What people type: gcloud on every service that the local cloud has. Each line must do what it does at Google.
set -eu
zone=us-central1-a
region=us-central1
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

expect() {
  wanted=$1
  shift
  found=$("$@" 2>"$here/stderr") || { echo "failed: $*"; cat "$here/stderr"; exit 1; }
  [ "$found" = "$wanted" ] || { echo "$*"; echo "  told:   $found"; echo "  wanted: $wanted"; exit 1; }
}
quiet() { "$@" >"$here/out" 2>&1 || { echo "failed: $*"; cat "$here/out"; exit 1; }; }
refused() { ! "$@" >"$here/out" 2>&1 || { echo "not refused: $*"; exit 1; }; }

quiet gcloud compute networks create shell --subnet-mode=custom
quiet gcloud compute networks subnets create shell --network=shell --region=$region --range=10.217.0.0/24
quiet gcloud compute firewall-rules create shell-ssh --network=shell --allow=tcp:22 --source-ranges=35.235.240.0/20
quiet gcloud compute addresses create shell --region=$region --subnet=shell --addresses=10.217.0.10
quiet gcloud compute instances create shell --zone=$zone --subnet=shell --private-network-ip=10.217.0.10 \
  --machine-type=e2-small --image-family=debian-12 --image-project=debian-cloud
expect "shell RUNNING 10.217.0.10" gcloud compute instances list --filter=name=shell \
  --format='value[separator=" "](name,status,networkInterfaces[0].networkIP)'
expect IN_USE gcloud compute addresses describe shell --region=$region --format='value(status)'
refused gcloud compute networks delete shell
quiet gcloud compute instances add-metadata shell --zone=$zone --metadata=role=manager
expect manager gcloud compute instances describe shell --zone=$zone --format='value(metadata.items[0].value)'
quiet gcloud compute instances stop shell --zone=$zone
expect TERMINATED gcloud compute instances describe shell --zone=$zone --format='value(status)'
quiet gcloud compute instances delete shell --zone=$zone
quiet gcloud compute addresses delete shell --region=$region
quiet gcloud compute firewall-rules delete shell-ssh
quiet gcloud compute networks subnets delete shell --region=$region
quiet gcloud compute networks delete shell

echo 'return 1' >"$here/risk.luau"
quiet gcloud storage buckets create gs://shell-scripts --location=$region --uniform-bucket-level-access
quiet gcloud storage cp "$here/risk.luau" gs://shell-scripts/risk.luau
expect gs://shell-scripts/risk.luau gcloud storage ls gs://shell-scripts
expect 'return 1' gcloud storage cat gs://shell-scripts/risk.luau
quiet gcloud storage buckets add-iam-policy-binding gs://shell-scripts --member=user:ada@example.com \
  --role=roles/storage.objectViewer
quiet gcloud storage rm --recursive gs://shell-scripts

quiet gcloud pubsub topics create shell
expect "projects/$CLOUDSDK_CORE_PROJECT/topics/shell" gcloud pubsub topics list --format='value(name)'
quiet gcloud pubsub topics delete shell

quiet gcloud iam service-accounts create shell-account --display-name=Shell
account=shell-account@$CLOUDSDK_CORE_PROJECT.iam.gserviceaccount.com
expect "$account" gcloud iam service-accounts list --format='value(email)'
quiet gcloud projects add-iam-policy-binding "$CLOUDSDK_CORE_PROJECT" --member="serviceAccount:$account" --role=roles/viewer
quiet gcloud projects remove-iam-policy-binding "$CLOUDSDK_CORE_PROJECT" --member="serviceAccount:$account" --role=roles/viewer
quiet gcloud iam service-accounts delete "$account"

quiet gcloud secrets create shell --replication-policy=automatic
printf one >"$here/secret"
quiet gcloud secrets versions add shell --data-file="$here/secret"
expect one gcloud secrets versions access latest --secret=shell
refused gcloud secrets create shell --replication-policy=automatic
quiet gcloud secrets delete shell
