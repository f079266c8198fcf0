"""Cloud Storage under google-cloud-storage: versions, conditions, listing, policies."""
import os

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

OPTIONS = ClientOptions(api_endpoint=os.environ["CLOUD_URL"])
PROJECT = os.environ["CLOUDSDK_CORE_PROJECT"]
client = storage.Client(project=PROJECT, credentials=AnonymousCredentials(), client_options=OPTIONS)

bucket = client.bucket("python-scripts")
bucket.versioning_enabled = True
bucket.add_lifecycle_delete_rule(number_of_newer_versions=5)
bucket = client.create_bucket(bucket, location="europe-west1")
assert bucket.versioning_enabled and list(bucket.lifecycle_rules), bucket._properties

blob = bucket.blob("tenants/acme/risk.luau")
blob.upload_from_string("return 1", if_generation_match=0)
first = blob.generation
try:
    bucket.blob("tenants/acme/risk.luau").upload_from_string("return 2", if_generation_match=0)
    raise SystemExit("a condition that does not hold was not refused")
except exceptions.PreconditionFailed:
    pass
blob.upload_from_string("return 2", if_generation_match=first)
assert bucket.blob(blob.name, generation=first).download_as_text() == "return 1"
assert bucket.blob(blob.name).download_as_text() == "return 2"
assert len(list(client.list_blobs(bucket, prefix="tenants/", versions=True))) == 2

policy = bucket.get_iam_policy(requested_policy_version=3)
policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"user:ada@example.com"}})
bucket.set_iam_policy(policy)
try:
    bucket.set_iam_policy(policy)
    raise SystemExit("a stale policy was taken")
except exceptions.PreconditionFailed:
    pass
assert "gs-project-accounts" in client.get_service_account_email()

for version in client.list_blobs(bucket, versions=True):
    version.delete()
bucket.delete()
