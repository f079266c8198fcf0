//! The kinds of resources that can be made: what a request may say about each, and which other resources it names.
//!
//! A field that is not listed is refused with 501, so that nothing is half obeyed.

/// Where resources of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Global,
    Region,
    Zone,
}

/// A kind of resource.
#[derive(Debug)]
pub(super) struct Collection {
    /// As in URLs.
    pub(super) plural: &'static str,
    /// Singular, as in `compute#network`.
    pub(super) singular: &'static str,
    pub(super) place: Place,
    /// Fields of an insert.
    pub(super) fields: &'static [&'static str],
    /// Fields that PATCH and PUT may change in place.
    pub(super) changeable: &'static [&'static str],
    /// Whether PATCH wants a `fingerprint`.
    pub(super) fingerprint: bool,
    /// Fields that must name a resource of this other collection, which must be there.
    pub(super) references: &'static [(&'static str, &'static str)],
    /// The quota that counts them.
    pub(super) metric: &'static str,
}

const COLLECTIONS: &[Collection] = &[
    Collection {
        plural: "networks",
        singular: "network",
        place: Place::Global,
        fields: &[
            "autoCreateSubnetworks",
            "description",
            "mtu",
            "routingConfig",
            "networkFirewallPolicyEnforcementOrder",
        ],
        changeable: &["mtu", "routingConfig", "networkFirewallPolicyEnforcementOrder"],
        fingerprint: false,
        references: &[],
        metric: "NETWORKS",
    },
    Collection {
        plural: "subnetworks",
        singular: "subnetwork",
        place: Place::Region,
        fields: &[
            "description",
            "enableFlowLogs",
            "ipCidrRange",
            "logConfig",
            "network",
            "privateIpGoogleAccess",
            "purpose",
            "stackType",
        ],
        changeable: &["logConfig", "privateIpGoogleAccess", "stackType"],
        fingerprint: true,
        references: &[("network", "networks")],
        metric: "SUBNETWORKS",
    },
    Collection {
        plural: "firewalls",
        singular: "firewall",
        place: Place::Global,
        fields: &[
            "allowed",
            "denied",
            "description",
            "destinationRanges",
            "direction",
            "disabled",
            "logConfig",
            "network",
            "priority",
            "sourceRanges",
            "sourceServiceAccounts",
            "sourceTags",
            "targetServiceAccounts",
            "targetTags",
        ],
        changeable: &[
            "allowed",
            "denied",
            "description",
            "destinationRanges",
            "disabled",
            "logConfig",
            "priority",
            "sourceRanges",
            "sourceServiceAccounts",
            "sourceTags",
            "targetServiceAccounts",
            "targetTags",
        ],
        fingerprint: false,
        references: &[("network", "networks")],
        metric: "FIREWALLS",
    },
    Collection {
        plural: "routers",
        singular: "router",
        place: Place::Region,
        fields: &["bgp", "description", "nats", "network"],
        changeable: &["bgp", "description", "nats"],
        fingerprint: false,
        references: &[("network", "networks")],
        metric: "ROUTERS",
    },
    Collection {
        plural: "addresses",
        singular: "address",
        place: Place::Region,
        fields: &["address", "addressType", "description", "labels", "networkTier", "purpose", "subnetwork"],
        changeable: &[],
        fingerprint: false,
        references: &[("subnetwork", "subnetworks")],
        metric: "STATIC_ADDRESSES",
    },
    Collection {
        plural: "disks",
        singular: "disk",
        place: Place::Zone,
        fields: &["description", "labels", "physicalBlockSizeBytes", "sizeGb", "sourceImage", "type"],
        changeable: &[],
        fingerprint: false,
        references: &[],
        metric: "DISKS_TOTAL_GB",
    },
    Collection {
        plural: "instances",
        singular: "instance",
        place: Place::Zone,
        fields: &[
            "canIpForward",
            "deletionProtection",
            "description",
            "disks",
            "hostname",
            "labels",
            "machineType",
            "metadata",
            "networkInterfaces",
            "scheduling",
            "serviceAccounts",
            "shieldedInstanceConfig",
            "tags",
        ],
        changeable: &[],
        fingerprint: false,
        references: &[],
        metric: "INSTANCES",
    },
];

/// Fields that Google tells and ignores in a request.
const TOLD: &[&str] = &[
    "cpuPlatform",
    "creationTimestamp",
    "fingerprint",
    "gatewayAddress",
    "id",
    "kind",
    "labelFingerprint",
    "lastStartTimestamp",
    "name",
    "region",
    "selfLink",
    "selfLinkWithId",
    "status",
    "subnetworks",
    "users",
    "zone",
];

impl Collection {
    pub(super) fn find(plural: &str) -> Option<&'static Self> {
        COLLECTIONS.iter().find(|collection| collection.plural == plural)
    }

    pub(super) fn is_told(field: &str) -> bool {
        TOLD.contains(&field)
    }
}
