"""Compute Engine under google-cloud-compute: a network, an address, an instance, a stale fingerprint, and all of it gone."""
import os

from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import compute_v1

PROJECT, REGION, ZONE = os.environ["CLOUDSDK_CORE_PROJECT"], "europe-west1", "europe-west1-b"
KNOBS = {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=os.environ["CLOUD_URL"])}

networks = compute_v1.NetworksClient(**KNOBS)
subnetworks = compute_v1.SubnetworksClient(**KNOBS)
instances = compute_v1.InstancesClient(**KNOBS)
waits = {
    "global": compute_v1.GlobalOperationsClient(**KNOBS),
    "region": compute_v1.RegionOperationsClient(**KNOBS),
    "zone": compute_v1.ZoneOperationsClient(**KNOBS),
}


def done(operation, **scope):
    """Waits by a client of ours: the library's own future asks Google, whatever endpoint its maker was given."""
    kind = next(iter(scope), "global")
    while operation.status != compute_v1.Operation.Status.DONE:
        operation = waits[kind].wait(project=PROJECT, operation=operation.name, **scope)
    assert not operation.error.errors, operation.error


network = compute_v1.Network(name="python", auto_create_subnetworks=False)
done(networks.insert_unary(project=PROJECT, network_resource=network))
subnetwork = compute_v1.Subnetwork(name="python", network="global/networks/python", ip_cidr_range="10.216.0.0/24")
done(subnetworks.insert_unary(project=PROJECT, region=REGION, subnetwork_resource=subnetwork), region=REGION)

boot = compute_v1.AttachedDisk(
    boot=True,
    auto_delete=True,
    initialize_params=compute_v1.AttachedDiskInitializeParams(
        source_image="projects/debian-cloud/global/images/family/debian-12"
    ),
)
instance = compute_v1.Instance(
    name="python",
    machine_type=f"zones/{ZONE}/machineTypes/e2-small",
    disks=[boot],
    network_interfaces=[compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/python")],
)
done(instances.insert_unary(project=PROJECT, zone=ZONE, instance_resource=instance), zone=ZONE)

found = instances.get(project=PROJECT, zone=ZONE, instance="python")
assert found.status == "RUNNING", found.status
assert found.network_interfaces[0].network_i_p == "10.216.0.2", found.network_interfaces
assert "python" in [item.name for item in instances.list(project=PROJECT, zone=ZONE)]
scopes = {scope: listed for scope, listed in instances.aggregated_list(project=PROJECT) if listed.instances}
assert f"zones/{ZONE}" in scopes, scopes

try:
    metadata = compute_v1.Metadata(fingerprint="b2xk", items=[compute_v1.Items(key="k", value="v")])
    instances.set_metadata_unary(project=PROJECT, zone=ZONE, instance="python", metadata_resource=metadata)
    raise SystemExit("a stale fingerprint was taken")
except exceptions.PreconditionFailed:
    pass
try:
    networks.delete_unary(project=PROJECT, network="python")
    raise SystemExit("a network in use was deleted")
except exceptions.BadRequest as error:
    assert "already being used by" in str(error), error

done(instances.delete_unary(project=PROJECT, zone=ZONE, instance="python"), zone=ZONE)
done(subnetworks.delete_unary(project=PROJECT, region=REGION, subnetwork="python"), region=REGION)
done(networks.delete_unary(project=PROJECT, network="python"))
try:
    networks.get(project=PROJECT, network="python")
    raise SystemExit("the network is still there")
except exceptions.NotFound:
    pass
