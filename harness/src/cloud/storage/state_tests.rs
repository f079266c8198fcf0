//! What the state machine promises about generations, conditions and events.

use super::bucket::BucketPreconditions;
use super::error::StorageError;
use super::object::{Checksums, ObjectReference, Preconditions};
use super::state::State;
use super::testing::{NOW, names, new, put, state_with_bucket};

fn reference(name: &str, generation: Option<i64>) -> ObjectReference {
    ObjectReference { bucket: "scripts".into(), name: name.into(), generation }
}

fn generation_match(generation: i64) -> Preconditions {
    Preconditions { generation_match: Some(generation), ..Preconditions::default() }
}

/// The events so far: type, and which generation went where, with the first generation called 1.
fn events(state: &mut State) -> Vec<String> {
    let told = state.take_notifications();
    let told = told.iter().map(|told| {
        let attribute = |name: &str| told.attributes.get(name).map_or("-", String::as_str);
        let (event, generation) = (attribute("eventType"), attribute("objectGeneration"));
        format!("{event} {generation} <{} >{}", attribute("overwroteGeneration"), attribute("overwrittenByGeneration"))
    });
    told.collect()
}

#[test]
fn generations_grow_even_when_the_clock_stands_still() {
    let mut state = state_with_bucket(true);

    let generations: Vec<i64> = ["a", "b", "a"].map(|name| put(&mut state, name, "1").generation).to_vec();

    assert_eq!(generations, [1, 2, 3]);
}

#[test]
fn generation_zero_means_no_live_object() {
    let mut state = state_with_bucket(true);
    let create = generation_match(0);

    let first = state.put(new("a", "1"), create, NOW).unwrap();
    assert_eq!(state.put(new("a", "2"), create, NOW), Err(StorageError::PreconditionFailed));
    state.delete(&reference("a", None), generation_match(first.generation), NOW).unwrap();

    assert!(state.put(new("a", "3"), create, NOW).is_ok());
}

#[test]
fn a_refused_write_changes_nothing_and_tells_nobody() {
    let mut state = state_with_bucket(true);
    let first = put(&mut state, "a", "1");
    state.take_notifications();
    let wrong = Checksums { crc32c: Some(7), md5: None };

    let conflict = state.put(new("a", "2"), generation_match(first.generation - 1), NOW);
    let corrupt =
        state.put(super::state::NewObject { checksums: wrong, ..new("a", "2") }, Preconditions::default(), NOW);

    assert_eq!(conflict, Err(StorageError::PreconditionFailed));
    assert!(matches!(corrupt, Err(StorageError::Invalid { .. })));
    assert_eq!(state.find(&reference("a", None), Preconditions::default()).unwrap(), first);
    assert_eq!(events(&mut state), Vec::<String>::new());
}

#[test]
fn a_versioned_bucket_archives_what_is_overwritten_or_deleted() {
    let mut state = state_with_bucket(true);
    let first = put(&mut state, "a", "1");
    put(&mut state, "a", "2");
    state.delete(&reference("a", None), Preconditions::default(), NOW).unwrap();

    assert_eq!(
        events(&mut state),
        ["OBJECT_FINALIZE 1 <- >-", "OBJECT_FINALIZE 2 <1 >-", "OBJECT_ARCHIVE 1 <- >2", "OBJECT_ARCHIVE 2 <- >-",]
    );
    assert_eq!(names(&state), Vec::<String>::new());
    let old = state.find(&reference("a", Some(first.generation)), Preconditions::default()).unwrap();
    assert_eq!(old.data, "1");
    assert_eq!(old.deleted, Some(NOW));
}

#[test]
fn an_unversioned_bucket_deletes_what_is_overwritten_or_deleted() {
    let mut state = state_with_bucket(false);
    let first = put(&mut state, "a", "1");
    put(&mut state, "a", "2");
    state.delete(&reference("a", None), Preconditions::default(), NOW).unwrap();

    assert_eq!(
        events(&mut state),
        ["OBJECT_FINALIZE 1 <- >-", "OBJECT_FINALIZE 2 <1 >-", "OBJECT_DELETE 1 <- >2", "OBJECT_DELETE 2 <- >-",]
    );
    let gone = state.find(&reference("a", Some(first.generation)), Preconditions::default()).unwrap_err();
    assert_eq!(gone.http_status(), 404);
}

#[test]
fn a_generation_deleted_by_number_is_gone_for_good() {
    let mut state = state_with_bucket(true);
    let first = put(&mut state, "a", "1");
    let second = put(&mut state, "a", "2");
    state.take_notifications();

    state.delete(&reference("a", Some(first.generation)), Preconditions::default(), NOW).unwrap();
    state.delete(&reference("a", Some(second.generation)), Preconditions::default(), NOW).unwrap();

    assert_eq!(events(&mut state), ["OBJECT_DELETE 1 <- >-", "OBJECT_DELETE 2 <- >-"]);
    assert!(state.bucket("scripts").unwrap().objects.is_empty());
}

#[test]
fn deleting_what_is_not_there_is_not_found_and_never_silent() {
    let mut state = state_with_bucket(true);

    let gone = state.delete(&reference("a", None), generation_match(1), NOW).unwrap_err();

    assert_eq!(gone.http_status(), 404);
}

#[test]
fn metadata_changes_keep_the_generation_and_grow_the_metageneration() {
    let mut state = state_with_bucket(true);
    let first = put(&mut state, "a", "1");
    state.take_notifications();
    let once = Preconditions { metageneration_match: Some(1), ..Preconditions::default() };
    let mut mark = || {
        let change = |fields: &mut super::object::ObjectFields| {
            fields.metadata.insert("author".into(), "ada".into());
            Ok(())
        };
        state.update(&reference("a", None), once, change, NOW)
    };

    let changed = mark().unwrap();
    let again = mark();

    assert_eq!((changed.generation, changed.metageneration), (first.generation, 2));
    assert_eq!(again, Err(StorageError::PreconditionFailed));
    assert_eq!(events(&mut state), ["OBJECT_METADATA_UPDATE 1 <- >-"]);
}

#[test]
fn a_read_of_what_the_caller_has_is_not_modified() {
    let mut state = state_with_bucket(true);
    let first = put(&mut state, "a", "1");
    let unless = Preconditions { generation_not_match: Some(first.generation), ..Preconditions::default() };

    assert_eq!(state.find(&reference("a", None), unless), Err(StorageError::NotModified));
    assert_eq!(state.put(new("a", "2"), unless, NOW), Err(StorageError::PreconditionFailed));
}

#[test]
fn a_bucket_with_old_generations_is_not_empty() {
    let mut state = state_with_bucket(true);
    put(&mut state, "a", "1");
    state.delete(&reference("a", None), Preconditions::default(), NOW).unwrap();
    let any = BucketPreconditions::default();

    let refused = state.delete_bucket("scripts", any, false).unwrap_err();
    state.delete_bucket("scripts", any, true).unwrap();

    assert_eq!(refused, StorageError::BucketNotEmpty { bucket: "scripts".into(), objects: 1 });
    assert_eq!(state.find(&reference("a", None), Preconditions::default()).unwrap_err().http_status(), 404);
}

#[test]
fn a_notification_carries_the_documented_attributes() {
    let mut state = state_with_bucket(true);
    put(&mut state, "tenants/acme/scripts/risk.luau", "1");

    let told = state.take_notifications().remove(0);

    let mut attributes: Vec<String> = told.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    attributes.sort();
    insta::assert_snapshot!(attributes.join("\n"), @r"
    bucketId=scripts
    eventTime=1970-01-01T00:00:00.000Z
    eventType=OBJECT_FINALIZE
    notificationConfig=projects/_/buckets/scripts/notificationConfigs/1
    objectGeneration=1
    objectId=tenants/acme/scripts/risk.luau
    payloadFormat=NONE
    stack=dev
    ");
}
