//! Calls on objects over the JSON API, other than writing their bytes.

use serde_json::{Map, Value, json};

use super::{Answer, Call, answers, fields};
use crate::cloud::faults::StorageVerb;
use crate::cloud::storage::copies::{Destination, Source};
use crate::cloud::storage::error::StorageError;
use crate::cloud::storage::listing::{self, ListQuery};
use crate::cloud::storage::object::{Object, ObjectFields, ObjectReference, Preconditions};
use crate::cloud::storage::resources::object_resource;

/// Bucket and name, as they stand in the path.
type Path<'a> = (&'a str, &'a str);

impl Call {
    pub(super) fn get_object(mut self, bucket: &str, name: &str) -> Answer {
        let media = self.parameters.get("alt") == Some("media");
        let verb = if media { StorageVerb::Download } else { StorageVerb::Get };
        let (reference, preconditions) = self.target(bucket, name)?;
        self.parameters.finish()?;
        let object = self.storage.call(verb, |state, _| state.find(&reference, preconditions))?;
        if media {
            return answers::bytes(&object, &self.headers);
        }
        Ok(answers::resource(object_resource(&object, &self.storage.shared.base_url)))
    }

    pub(super) fn list_objects(mut self, bucket: &str) -> Answer {
        let query = ListQuery {
            prefix: self.parameters.text("prefix").unwrap_or_default(),
            delimiter: self.parameters.text("delimiter").unwrap_or_default(),
            include_trailing_delimiter: self.parameters.flag("includeTrailingDelimiter")?,
            versions: self.parameters.flag("versions")?,
            start: self.parameters.text("startOffset").unwrap_or_default(),
            end: self.parameters.text("endOffset").unwrap_or_default(),
            page_size: self.parameters.value("maxResults")?.unwrap_or(0),
            page_token: self.parameters.text("pageToken").unwrap_or_default(),
        };
        if self.parameters.flag("softDeleted")? {
            return Err(StorageError::not_implemented("listing soft-deleted objects"));
        }
        // Folders are things of hierarchical buckets, which cannot be made here: there are none to include.
        self.parameters.flag("includeFoldersAsPrefixes")?;
        self.parameters.finish()?;
        let page = self.storage.call(StorageVerb::List, |state, _| listing::list(state.bucket(bucket)?, &query))?;
        let base = &self.storage.shared.base_url;
        let mut list = json!({ "kind": "storage#objects" });
        if !page.objects.is_empty() {
            list["items"] = page.objects.iter().map(|object| object_resource(object, base)).collect();
        }
        if !page.prefixes.is_empty() {
            list["prefixes"] = json!(page.prefixes);
        }
        if let Some(next) = page.next {
            list["nextPageToken"] = next.into();
        }
        Ok(answers::resource(list))
    }

    pub(super) fn patch_object(mut self, bucket: &str, name: &str) -> Answer {
        let (reference, preconditions) = self.target(bucket, name)?;
        let body = self.json()?;
        self.parameters.finish()?;
        let object = self.storage.call(StorageVerb::Update, |state, now| {
            state.update(&reference, preconditions, |object| fields::patch_object(object, &body), now)
        })?;
        Ok(answers::resource(object_resource(&object, &self.storage.shared.base_url)))
    }

    pub(super) fn delete_object(mut self, bucket: &str, name: &str) -> Answer {
        let (reference, preconditions) = self.target(bucket, name)?;
        self.parameters.finish()?;
        self.storage.call(StorageVerb::Delete, |state, now| state.delete(&reference, preconditions, now))?;
        Ok(answers::nothing())
    }

    pub(super) fn compose(mut self, bucket: &str, name: &str) -> Answer {
        let preconditions = self.preconditions("")?;
        let body = self.json()?;
        self.parameters.finish()?;
        let destination = body.get("destination").and_then(Value::as_object).cloned().unwrap_or_default();
        let destination = Destination {
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            fields: Some(object_fields(&destination)?),
            preconditions,
        };
        let listed = body.get("sourceObjects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let sources: Vec<Source> =
            listed.iter().map(|source| compose_source(bucket, source)).collect::<Result<_, _>>()?;
        let object = self.storage.call(StorageVerb::Compose, |state, now| state.compose(&sources, destination, now))?;
        Ok(answers::resource(object_resource(&object, &self.storage.shared.base_url)))
    }

    pub(super) fn copy(self, from: Path<'_>, to: Path<'_>) -> Answer {
        let (object, base) = self.rewritten(from, to)?;
        Ok(answers::resource(object_resource(&object, &base)))
    }

    /// Done in one step, whatever the size; so there is never a token to go on with.
    pub(super) fn rewrite(mut self, from: Path<'_>, to: Path<'_>) -> Answer {
        self.parameters.text("maxBytesRewrittenPerCall");
        if self.parameters.text("rewriteToken").is_some() {
            return Err(StorageError::invalid("Invalid rewrite token: this server never gave one"));
        }
        let (object, base) = self.rewritten(from, to)?;
        let size = object.data.len().to_string();
        Ok(answers::resource(json!({
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": size,
            "objectSize": size,
            "done": true,
            "resource": object_resource(&object, &base),
        })))
    }

    fn rewritten(mut self, from: Path<'_>, to: Path<'_>) -> Result<(std::sync::Arc<Object>, String), StorageError> {
        let generation = self.parameters.value("sourceGeneration")?;
        let source = self.source(from, generation)?;
        let body = self.json()?;
        let fields = if body.is_empty() { None } else { Some(object_fields(&body)?) };
        let preconditions = self.preconditions("")?;
        self.parameters.finish()?;
        let destination = Destination { bucket: to.0.to_owned(), name: to.1.to_owned(), fields, preconditions };
        let object = self.storage.call(StorageVerb::Rewrite, |state, now| state.rewrite(&source, destination, now))?;
        Ok((object, self.storage.shared.base_url.clone()))
    }

    pub(super) fn move_object(mut self, bucket: &str, from: &str, to: &str) -> Answer {
        let source = self.source((bucket, from), None)?;
        let preconditions = self.preconditions("")?;
        self.parameters.finish()?;
        let destination = Destination { bucket: bucket.to_owned(), name: to.to_owned(), fields: None, preconditions };
        let object = self.storage.call(StorageVerb::Move, |state, now| state.rename(&source, destination, now))?;
        Ok(answers::resource(object_resource(&object, &self.storage.shared.base_url)))
    }

    fn target(&mut self, bucket: &str, name: &str) -> Result<(ObjectReference, Preconditions), StorageError> {
        let generation = self.parameters.value("generation")?;
        let reference = ObjectReference { bucket: bucket.to_owned(), name: name.to_owned(), generation };
        Ok((reference, self.preconditions("")?))
    }

    fn source(&mut self, (bucket, name): Path<'_>, generation: Option<i64>) -> Result<Source, StorageError> {
        let reference = ObjectReference { bucket: bucket.to_owned(), name: name.to_owned(), generation };
        Ok(Source { reference, preconditions: self.preconditions("Source")? })
    }
}

fn object_fields(body: &Map<String, Value>) -> Result<ObjectFields, StorageError> {
    let mut object = ObjectFields::default();
    fields::patch_object(&mut object, body)?;
    Ok(object)
}

fn compose_source(bucket: &str, source: &Value) -> Result<Source, StorageError> {
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    let name = source["name"].as_str().ok_or(StorageError::Required { name: "sourceObjects[].name" })?;
    let reference =
        ObjectReference { bucket: bucket.to_owned(), name: name.to_owned(), generation: number(&source["generation"]) };
    let generation_match = number(&source["objectPreconditions"]["ifGenerationMatch"]);
    Ok(Source { reference, preconditions: Preconditions { generation_match, ..Preconditions::default() } })
}
