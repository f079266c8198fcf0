//! Server traits of the Google services, written by `build.rs`; message types come from the `googleapis-tonic-*` crates.

#![allow(missing_docs, unreachable_pub, clippy::allow_attributes_without_reason, reason = "generated code")]

/// The empty answer (`google.protobuf.Empty` on the wire), by a name that a path can have.
pub(crate) type Empty = ();

/// Messages of Pub/Sub.
pub(crate) mod pubsub {
    pub(crate) use ::googleapis_tonic_google_pubsub_v1::google::pubsub::v1::*;
}

/// Messages of Cloud Storage.
pub(crate) mod storage {
    pub(crate) use ::googleapis_tonic_google_storage_v2::google::storage::v2::*;
}

/// Messages of policies.
pub(crate) mod iam {
    pub(crate) use ::googleapis_tonic_google_iam_v1::google::iam::v1::*;
    pub(crate) use ::googleapis_tonic_google_type::google::r#type::Expr;
}

/// Services of Pub/Sub and Cloud Storage.
pub(crate) mod services {
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Publisher.rs"));
    include!(concat!(env!("OUT_DIR"), "/google.pubsub.v1.Subscriber.rs"));
    include!(concat!(env!("OUT_DIR"), "/google.storage.v2.Storage.rs"));
    include!(concat!(env!("OUT_DIR"), "/google.storage.control.v2.StorageControl.rs"));
}
