//! `google.storage.v2.Storage`: what the official control client calls. Reading and writing bytes stays with the JSON API,
//! as in the official clients; methods that are not here answer UNIMPLEMENTED.

mod convert;

use tonic::{Request, Response, Status};

use self::convert::{
    bucket_fields, bucket_message, object_fields, object_message, preconditions, source_preconditions, update_bucket,
    update_object,
};
use super::Storage;
use super::access::policy_name;
use super::bucket::BucketPreconditions;
use super::copies::{Destination, Source};
use super::error::StorageError;
use super::listing::{self, ListQuery};
use super::names::bucket_of_resource;
use super::object::{ObjectReference, Preconditions};
use crate::cloud::faults::StorageVerb;
use crate::cloud::generated::services::storage_server;
use crate::cloud::generated::storage as pb;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl storage_server::Storage for Storage {
    async fn delete_bucket(&self, request: Request<pb::DeleteBucketRequest>) -> Answer<()> {
        let request = request.into_inner();
        let name = bucket_of_resource(&request.name).map_err(StorageError::from)?;
        let conditions = preconditions!(bucket request);
        self.call(StorageVerb::Bucket, |state, _| state.delete_bucket(&name, conditions, false))?;
        self.shared.iam.forget_policy(&policy_name(&name));
        Ok(Response::new(()))
    }

    async fn get_bucket(&self, request: Request<pb::GetBucketRequest>) -> Answer<pb::Bucket> {
        let request = request.into_inner();
        let name = bucket_of_resource(&request.name).map_err(StorageError::from)?;
        let conditions: BucketPreconditions = preconditions!(bucket request);
        let info = self.call(StorageVerb::Bucket, |state, _| {
            let info = state.bucket(&name)?.info.clone();
            conditions.check(&info)?;
            Ok(info)
        })?;
        Ok(Response::new(bucket_message(&info)))
    }

    async fn create_bucket(&self, request: Request<pb::CreateBucketRequest>) -> Answer<pb::Bucket> {
        let request = request.into_inner();
        let bucket = request.bucket.unwrap_or_default();
        if request.parent != "projects/_" || !bucket.project.starts_with("projects/") {
            let why = "parent must be projects/_ and bucket.project must be projects/PROJECT";
            return Err(Status::invalid_argument(why));
        }
        let project = bucket.project.trim_start_matches("projects/").to_owned();
        let fields = bucket_fields(bucket)?;
        let info = self
            .call(StorageVerb::Bucket, |state, now| state.create_bucket(&request.bucket_id, &project, fields, now))?;
        Ok(Response::new(bucket_message(&info)))
    }

    async fn list_buckets(&self, request: Request<pb::ListBucketsRequest>) -> Answer<pb::ListBucketsResponse> {
        let request = request.into_inner();
        let project =
            request.parent.strip_prefix("projects/").map(|project| if project == "_" { "-" } else { project });
        let project = project.ok_or_else(|| Status::invalid_argument("parent must be projects/PROJECT"))?;
        let prefix = request.prefix.trim_start_matches("projects/_/buckets/");
        let buckets = self
            .call(StorageVerb::Bucket, |state, _| Ok(state.buckets(project, prefix).map(bucket_message).collect()))?;
        Ok(Response::new(pb::ListBucketsResponse { buckets, ..Default::default() }))
    }

    async fn update_bucket(&self, request: Request<pb::UpdateBucketRequest>) -> Answer<pb::Bucket> {
        let request = request.into_inner();
        let conditions = preconditions!(bucket request);
        let bucket = request.bucket.ok_or_else(|| Status::invalid_argument("bucket is missing"))?;
        let mask = request.update_mask.ok_or_else(|| Status::invalid_argument("update_mask is missing"))?;
        let name = bucket_of_resource(&bucket.name).map_err(StorageError::from)?;
        let info = self.call(StorageVerb::Bucket, |state, now| {
            state.update_bucket(&name, conditions, |fields| update_bucket(fields, &bucket, &mask.paths), now)
        })?;
        Ok(Response::new(bucket_message(&info)))
    }

    async fn get_object(&self, request: Request<pb::GetObjectRequest>) -> Answer<pb::Object> {
        let request = request.into_inner();
        if request.soft_deleted() || !request.restore_token.is_empty() {
            return Err(StorageError::not_implemented("soft-deleted objects").into());
        }
        let conditions = preconditions!(request);
        let reference = reference(&request.bucket, request.object, request.generation)?;
        let object = self.call(StorageVerb::Get, |state, _| state.find(&reference, conditions))?;
        Ok(Response::new(object_message(&object)))
    }

    async fn list_objects(&self, request: Request<pb::ListObjectsRequest>) -> Answer<pb::ListObjectsResponse> {
        let request = request.into_inner();
        if request.soft_deleted {
            return Err(StorageError::not_implemented("listing soft-deleted objects").into());
        }
        if !request.match_glob.is_empty() || !request.filter.is_empty() {
            return Err(StorageError::not_implemented("listing with `match_glob` or `filter`").into());
        }
        let bucket = bucket_of_resource(&request.parent).map_err(StorageError::from)?;
        let query = ListQuery {
            prefix: request.prefix,
            delimiter: request.delimiter,
            include_trailing_delimiter: request.include_trailing_delimiter,
            versions: request.versions,
            start: request.lexicographic_start,
            end: request.lexicographic_end,
            page_size: usize::try_from(request.page_size)
                .map_err(|_| Status::invalid_argument("page_size is negative"))?,
            page_token: request.page_token,
        };
        let page = self.call(StorageVerb::List, |state, _| listing::list(state.bucket(&bucket)?, &query))?;
        Ok(Response::new(pb::ListObjectsResponse {
            objects: page.objects.iter().map(|object| object_message(object)).collect(),
            prefixes: page.prefixes,
            next_page_token: page.next.unwrap_or_default(),
        }))
    }

    async fn update_object(&self, request: Request<pb::UpdateObjectRequest>) -> Answer<pb::Object> {
        let request = request.into_inner();
        let conditions = preconditions!(request);
        let object = request.object.ok_or_else(|| Status::invalid_argument("object is missing"))?;
        let mask = request.update_mask.ok_or_else(|| Status::invalid_argument("update_mask is missing"))?;
        let reference = reference(&object.bucket, object.name.clone(), object.generation)?;
        let updated = self.call(StorageVerb::Update, |state, now| {
            state.update(&reference, conditions, |fields| update_object(fields, &object, &mask.paths), now)
        })?;
        Ok(Response::new(object_message(&updated)))
    }

    async fn delete_object(&self, request: Request<pb::DeleteObjectRequest>) -> Answer<()> {
        let request = request.into_inner();
        let conditions = preconditions!(request);
        let reference = reference(&request.bucket, request.object, request.generation)?;
        self.call(StorageVerb::Delete, |state, now| state.delete(&reference, conditions, now))?;
        Ok(Response::new(()))
    }

    async fn rewrite_object(&self, request: Request<pb::RewriteObjectRequest>) -> Answer<pb::RewriteResponse> {
        let request = request.into_inner();
        if !request.rewrite_token.is_empty() {
            return Err(Status::invalid_argument("Invalid rewrite token: this server never gave one"));
        }
        let source = Source {
            preconditions: source_preconditions!(request),
            reference: reference(&request.source_bucket, request.source_object, request.source_generation)?,
        };
        let destination = Destination {
            bucket: bucket_of_resource(&request.destination_bucket).map_err(StorageError::from)?,
            name: request.destination_name,
            preconditions: preconditions!(request),
            fields: request.destination.map(object_fields).transpose()?,
        };
        let object = self.call(StorageVerb::Rewrite, |state, now| state.rewrite(&source, destination, now))?;
        let size = object.data.len() as i64;
        Ok(Response::new(pb::RewriteResponse {
            total_bytes_rewritten: size,
            object_size: size,
            done: true,
            rewrite_token: String::new(),
            resource: Some(object_message(&object)),
        }))
    }

    async fn compose_object(&self, request: Request<pb::ComposeObjectRequest>) -> Answer<pb::Object> {
        let request = request.into_inner();
        if request.delete_source_objects() {
            return Err(StorageError::not_implemented("composing with `delete_source_objects`").into());
        }
        let target = request.destination.ok_or_else(|| Status::invalid_argument("destination is missing"))?;
        let destination = Destination {
            bucket: bucket_of_resource(&target.bucket).map_err(StorageError::from)?,
            name: target.name.clone(),
            preconditions: Preconditions {
                generation_match: request.if_generation_match,
                metageneration_match: request.if_metageneration_match,
                ..Preconditions::default()
            },
            fields: Some(object_fields(target.clone())?),
        };
        let sources = request.source_objects.into_iter().map(|source| {
            let generation_match = source.object_preconditions.and_then(|conditions| conditions.if_generation_match);
            let preconditions = Preconditions { generation_match, ..Preconditions::default() };
            Ok(Source { reference: reference(&target.bucket, source.name, source.generation)?, preconditions })
        });
        let sources: Vec<Source> = sources.collect::<Result<_, StorageError>>()?;
        let object = self.call(StorageVerb::Compose, |state, now| state.compose(&sources, destination, now))?;
        Ok(Response::new(object_message(&object)))
    }

    async fn move_object(&self, request: Request<pb::MoveObjectRequest>) -> Answer<pb::Object> {
        let request = request.into_inner();
        let source = Source {
            preconditions: source_preconditions!(request),
            reference: reference(&request.bucket, request.source_object, 0)?,
        };
        let destination = Destination {
            bucket: source.reference.bucket.clone(),
            name: request.destination_object,
            preconditions: preconditions!(request),
            fields: None,
        };
        let object = self.call(StorageVerb::Move, |state, now| state.rename(&source, destination, now))?;
        Ok(Response::new(object_message(&object)))
    }
}

/// In gRPC generation 0 means "the live one".
fn reference(bucket: &str, name: String, generation: i64) -> Result<ObjectReference, StorageError> {
    let generation = (generation != 0).then_some(generation);
    Ok(ObjectReference { bucket: bucket_of_resource(bucket)?, name, generation })
}
