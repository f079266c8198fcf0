"""Secret Manager under google-cloud-secret-manager, by its REST transport."""
import os

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import secretmanager

OPTIONS = ClientOptions(api_endpoint=os.environ["CLOUD_URL"])
client = secretmanager.SecretManagerServiceClient(
    credentials=AnonymousCredentials(), client_options=OPTIONS, transport="rest"
)
parent = "projects/" + os.environ["CLOUDSDK_CORE_PROJECT"]

request = {"parent": parent, "secret_id": "python", "secret": {"replication": {"automatic": {}}}}
secret = client.create_secret(request=request)
try:
    client.create_secret(request=request)
    raise SystemExit("a secret was made twice")
except exceptions.Conflict:
    pass
version = client.add_secret_version(request={"parent": secret.name, "payload": {"data": b"one"}})
read = client.access_secret_version(request={"name": f"{parent}/secrets/python/versions/latest"})
assert read.payload.data == b"one" and read.name == version.name, read
client.disable_secret_version(request={"name": version.name})
try:
    client.access_secret_version(request={"name": version.name})
    raise SystemExit("a disabled version was read")
except exceptions.BadRequest:
    pass
assert "python" in [found.name.rsplit("/", 1)[-1] for found in client.list_secrets(request={"parent": parent})]
client.delete_secret(request={"name": secret.name})
