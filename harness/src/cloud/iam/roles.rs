//! The predefined roles that the local cloud knows, with what each of them grants of what it asks for.
//!
//! <https://cloud.google.com/iam/docs/understanding-roles>. `*` at the end stands for everything that begins so.

use serde_json::Value;

const ROLES: &[(&str, &[&str])] = &[
    ("roles/owner", &["*"]),
    (
        "roles/editor",
        &[
            "compute.",
            "pubsub.",
            "storage.",
            "secretmanager.secrets.",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    (
        "roles/viewer",
        &[
            "compute.instances.get",
            "compute.instances.list",
            "pubsub.topics.get",
            "pubsub.topics.list",
            "pubsub.subscriptions.get",
            "pubsub.subscriptions.list",
            "storage.buckets.list",
            "secretmanager.secrets.get",
            "secretmanager.secrets.list",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    ("roles/artifactregistry.reader", &["artifactregistry.repositories."]),
    ("roles/artifactregistry.writer", &["artifactregistry.repositories."]),
    ("roles/compute.admin", &["compute."]),
    (
        "roles/compute.instanceAdmin.v1",
        &[
            "compute.instances.",
            "compute.disks.",
            "compute.images.get",
            "compute.images.list",
            "compute.machineTypes.",
            "compute.zoneOperations.",
        ],
    ),
    (
        "roles/compute.networkAdmin",
        &[
            "compute.networks.",
            "compute.subnetworks.",
            "compute.routers.",
            "compute.addresses.",
            "compute.firewalls.get",
            "compute.firewalls.list",
        ],
    ),
    ("roles/compute.osLogin", &["compute.instances.osLogin"]),
    ("roles/compute.securityAdmin", &["compute.firewalls."]),
    (
        "roles/compute.viewer",
        &[
            "compute.instances.get",
            "compute.instances.list",
            "compute.instances.getGuestAttributes",
            "compute.networks.get",
            "compute.networks.list",
            "compute.zones.",
            "compute.disks.get",
            "compute.disks.list",
        ],
    ),
    ("roles/iam.serviceAccountAdmin", &["iam.serviceAccounts."]),
    ("roles/iam.serviceAccountTokenCreator", &["iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.signBlob"]),
    (
        "roles/iam.serviceAccountUser",
        &["iam.serviceAccounts.actAs", "iam.serviceAccounts.get", "iam.serviceAccounts.list"],
    ),
    ("roles/iam.workloadIdentityUser", &["iam.serviceAccounts.getAccessToken"]),
    ("roles/iap.tunnelResourceAccessor", &["iap.tunnelInstances.accessViaIAP"]),
    ("roles/logging.logWriter", &["logging.logEntries.create"]),
    ("roles/monitoring.metricWriter", &["monitoring.timeSeries.create"]),
    ("roles/pubsub.admin", &["pubsub."]),
    ("roles/pubsub.editor", &["pubsub.topics.", "pubsub.subscriptions.", "pubsub.snapshots."]),
    ("roles/pubsub.publisher", &["pubsub.topics.publish"]),
    ("roles/pubsub.subscriber", &["pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"]),
    (
        "roles/pubsub.viewer",
        &["pubsub.topics.get", "pubsub.topics.list", "pubsub.subscriptions.get", "pubsub.subscriptions.list"],
    ),
    ("roles/resourcemanager.projectIamAdmin", &["resourcemanager.projects."]),
    ("roles/secretmanager.admin", &["secretmanager."]),
    ("roles/secretmanager.secretAccessor", &["secretmanager.versions.access"]),
    ("roles/secretmanager.secretVersionAdder", &["secretmanager.versions.add"]),
    (
        "roles/secretmanager.secretVersionManager",
        &[
            "secretmanager.versions.add",
            "secretmanager.versions.destroy",
            "secretmanager.versions.disable",
            "secretmanager.versions.enable",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
        ],
    ),
    (
        "roles/secretmanager.viewer",
        &[
            "secretmanager.secrets.get",
            "secretmanager.secrets.list",
            "secretmanager.versions.get",
            "secretmanager.versions.list",
            "secretmanager.secrets.getIamPolicy",
        ],
    ),
    ("roles/storage.admin", &["storage."]),
    ("roles/storage.bucketViewer", &["storage.buckets.get", "storage.buckets.list"]),
    ("roles/storage.insightsCollectorService", &["storage.buckets.get"]),
    (
        "roles/storage.legacyBucketOwner",
        &[
            "storage.buckets.get",
            "storage.buckets.getIamPolicy",
            "storage.buckets.setIamPolicy",
            "storage.buckets.update",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.list",
        ],
    ),
    ("roles/storage.legacyBucketReader", &["storage.buckets.get", "storage.objects.list"]),
    (
        "roles/storage.legacyBucketWriter",
        &["storage.buckets.get", "storage.objects.create", "storage.objects.delete", "storage.objects.list"],
    ),
    ("roles/storage.legacyObjectOwner", &["storage.objects.get", "storage.objects.update"]),
    ("roles/storage.legacyObjectReader", &["storage.objects.get"]),
    ("roles/storage.objectAdmin", &["storage.objects."]),
    ("roles/storage.objectCreator", &["storage.objects.create"]),
    (
        "roles/storage.objectUser",
        &[
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.update",
        ],
    ),
    ("roles/storage.objectViewer", &["storage.objects.get", "storage.objects.list"]),
];

/// Whether a role can be bound: a predefined one of the list, or a project's or organisation's own.
pub(super) fn is_known(role: &str) -> bool {
    let is_own = (role.starts_with("projects/") || role.starts_with("organizations/")) && role.contains("/roles/");
    is_own || ROLES.iter().any(|(name, _)| *name == role)
}

/// Whether a role grants a permission. Roles of one's own grant nothing here: what they hold is not known.
pub(super) fn grants(role: &Value, permission: &str) -> bool {
    let granted = ROLES.iter().find(|(name, _)| role == name).map_or(&[][..], |(_, granted)| granted);
    granted.iter().any(|granted| {
        *granted == "*" || *granted == permission || (granted.ends_with('.') && permission.starts_with(granted))
    })
}
