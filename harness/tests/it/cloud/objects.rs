//! Objects and buckets by the official clients.

use std::collections::BTreeSet;

use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::paginator::ItemPaginator as _;
use google_cloud_storage::builder_ext::RewriteObjectExt as _;
use google_cloud_storage::model::bucket::Versioning;
use google_cloud_storage::model::compose_object_request::SourceObject;
use google_cloud_storage::model::{Bucket, Object};
use google_cloud_storage::model_ext::ReadRange;

use super::{BUCKET, BUCKET_RESOURCE, World};

/// The gRPC code of a refusal.
fn code<T: std::fmt::Debug>(refused: Result<T, google_cloud_storage::Error>) -> Code {
    refused.unwrap_err().status().expect("a refusal by the server").code
}

#[tokio::test]
async fn a_write_on_condition_wins_once() {
    let world = World::start().await;
    let write = |content: &'static str, generation| {
        let write = world.storage.write_object(BUCKET_RESOURCE, "current", content);
        write.set_if_generation_match(generation).set_metadata([("rev", content)]).send_buffered()
    };

    let first = write("1", 0).await.unwrap();
    let twice = write("2", 0).await.unwrap_err();
    let second = write("2", first.generation).await.unwrap();
    let late = write("3", first.generation).await.unwrap_err();

    assert_eq!((twice.http_status_code(), late.http_status_code()), (Some(412), Some(412)));
    assert!(second.generation > first.generation);
    assert_eq!(second.metadata["rev"], "2");
    assert_eq!(world.read("current", None).await.unwrap(), b"2");
}

#[tokio::test]
async fn every_generation_can_be_read_by_its_number() {
    let world = World::start().await;
    let first = world.put("a", "1");
    let second = world.put("a", "2");
    world.cloud.storage().delete(BUCKET, "a").unwrap();

    assert_eq!(world.read("a", Some(first)).await.unwrap(), b"1");
    assert_eq!(world.read("a", Some(second)).await.unwrap(), b"2");
    assert_eq!(world.read("a", None).await.unwrap_err().http_status_code(), Some(404));
    assert_eq!(world.read("a", Some(second + 1)).await.unwrap_err().http_status_code(), Some(404));
    let listed = world.list(true, 0).await;
    assert_eq!(listed, [("a".to_owned(), first), ("a".to_owned(), second)]);
    assert_eq!(world.list(false, 0).await, []);
}

#[tokio::test]
async fn a_read_tells_generation_checksum_and_metadata() {
    let world = World::start().await;
    let write = world.storage.write_object(BUCKET_RESOURCE, "dir/ä b?#%.luau", "return 1");
    let written = write.set_metadata([("author", "ada")]).set_content_type("text/x-lua").send_buffered().await.unwrap();

    let read = world.storage.read_object(BUCKET_RESOURCE, "dir/ä b?#%.luau").send().await.unwrap();

    let told = read.object();
    assert_eq!((told.generation, told.size), (written.generation, 8));
    assert_eq!((told.metadata["author"].as_str(), told.content_type.as_str()), ("ada", "text/x-lua"));
    assert_eq!(told.checksums.unwrap().crc32c, Some(crc32c::crc32c(b"return 1")));
}

#[tokio::test]
async fn a_part_of_an_object_can_be_read() {
    let world = World::start().await;
    world.put("a", "0123456789");
    let read = async |range: ReadRange| {
        let request = world.storage.read_object(BUCKET_RESOURCE, "a").set_read_range(range);
        let mut response = request.send().await?;
        let mut content = Vec::new();
        while let Some(piece) = response.next().await.transpose()? {
            content.extend_from_slice(&piece);
        }
        Ok::<_, google_cloud_storage::Error>(content)
    };

    assert_eq!(read(ReadRange::segment(2, 3)).await.unwrap(), b"234");
    assert_eq!(read(ReadRange::offset(7)).await.unwrap(), b"789");
    assert_eq!(read(ReadRange::tail(2)).await.unwrap(), b"89");
    assert_eq!(read(ReadRange::offset(10)).await.unwrap_err().http_status_code(), Some(416));
}

#[tokio::test]
async fn more_than_a_thousand_objects_come_in_pages() {
    let world = World::start().await;
    let names: BTreeSet<String> = (0..2_345).map(|number| format!("tenants/t{number}/scripts/a.luau")).collect();
    for name in &names {
        world.put(name, "return 1");
    }

    let listed = world.list(false, 0).await;

    assert!(listed.iter().map(|(name, _)| name).eq(&names));
    let page = world.control.list_objects().set_parent(BUCKET_RESOURCE).send().await.unwrap();
    assert_eq!(page.objects.len(), 1000);
    assert_eq!(world.cloud.storage().list(BUCKET, "tenants/").unwrap().len(), 2_345);
}

#[tokio::test]
async fn a_delimiter_shows_folders() {
    let world = World::start().await;
    for name in ["latest.lua", "tenants/acme/scripts/risk.luau", "tenants/bank/scripts/fee.luau"] {
        world.put(name, "return 1");
    }
    let list = |prefix: &'static str| {
        let request = world.control.list_objects().set_parent(BUCKET_RESOURCE);
        request.set_prefix(prefix).set_delimiter("/").send()
    };

    assert_eq!(list("").await.unwrap().prefixes, ["tenants/"]);
    assert_eq!(list("tenants/").await.unwrap().prefixes, ["tenants/acme/", "tenants/bank/"]);
}

#[tokio::test]
async fn a_delete_on_condition_hits_only_what_was_seen() {
    let world = World::start().await;
    let first = world.put("a", "1");
    let second = world.put("a", "2");
    let delete = |generation| {
        let request = world.control.delete_object().set_bucket(BUCKET_RESOURCE).set_object("a");
        request.set_if_generation_match(generation).send()
    };

    assert_eq!(code(delete(first).await), Code::FailedPrecondition);
    assert_eq!(world.read("a", None).await.unwrap(), b"2");
    delete(second).await.unwrap();

    assert_eq!(code(delete(second).await), Code::NotFound);
}

#[tokio::test]
async fn copies_need_their_conditions_on_both_sides() {
    let world = World::start().await;
    let staged = world.put("staging/a", "1");
    let rewrite = |if_target: i64, if_source: i64| {
        let request = world.control.rewrite_object().set_source_bucket(BUCKET_RESOURCE).set_source_object("staging/a");
        let request = request.set_destination_bucket(BUCKET_RESOURCE).set_destination_name("live/a");
        request.set_if_generation_match(if_target).set_if_source_generation_match(if_source).rewrite_until_done()
    };

    let made = rewrite(0, staged).await.unwrap();

    assert_eq!((made.name.as_str(), made.size), ("live/a", 1));
    assert!(made.generation > staged);
    assert_eq!(code(rewrite(0, staged).await), Code::FailedPrecondition);
    assert_eq!(code(rewrite(made.generation, staged - 1).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn objects_are_composed_and_moved() {
    let world = World::start().await;
    world.put("a", "one ");
    world.put("b", "two");

    let request = world.control.compose_object();
    let request = request.set_destination(Object::new().set_bucket(BUCKET_RESOURCE).set_name("both"));
    let sources = ["a", "b"].map(|name| SourceObject::new().set_name(name));
    let both = request.set_source_objects(sources).set_if_generation_match(0).send().await.unwrap();
    let request = world.control.move_object().set_bucket(BUCKET_RESOURCE);
    let moved = request.set_source_object("both").set_destination_object("moved").send().await.unwrap();

    assert_eq!(both.component_count, 2);
    assert_eq!(world.read("moved", Some(moved.generation)).await.unwrap(), b"one two");
    assert_eq!(world.read("both", None).await.unwrap_err().http_status_code(), Some(404));
}

#[tokio::test]
async fn buckets_are_made_listed_and_removed_only_when_empty() {
    let world = World::start().await;
    let create = |id: &'static str| {
        let settings = Bucket::new().set_project("projects/test").set_location("europe-west3");
        let settings = settings.set_versioning(Versioning::new().set_enabled(true)).set_labels([("stack", "test")]);
        world.control.create_bucket().set_parent("projects/_").set_bucket_id(id).set_bucket(settings).send()
    };
    let delete = || world.control.delete_bucket().set_name("projects/_/buckets/other").send();

    let made = create("other").await.unwrap();
    assert_eq!(made.name, "projects/_/buckets/other");
    assert_eq!((made.labels["stack"].as_str(), made.location.as_str()), ("test", "EUROPE-WEST3"));
    assert_eq!(code(create("other").await), Code::AlreadyExists);
    assert_eq!(code(create("Other").await), Code::InvalidArgument);
    let mut names = Vec::new();
    let mut items = world.control.list_buckets().set_parent("projects/test").by_item();
    while let Some(bucket) = items.next().await.transpose().unwrap() {
        names.push(bucket.bucket_id);
    }
    assert_eq!(names, ["other", BUCKET]);

    world.cloud.storage().put("other", "a", "1").unwrap();
    assert_eq!(code(delete().await), Code::FailedPrecondition);
    world.cloud.storage().delete_bucket("other", true).unwrap();

    assert_eq!(code(delete().await), Code::NotFound);
}

#[tokio::test]
async fn a_missing_bucket_is_not_found_by_every_call() {
    let world = World::start().await;
    let gone = "projects/_/buckets/gone";

    let write = world.storage.write_object(gone, "a", "1").send_buffered().await.unwrap_err();
    let read = world.storage.read_object(gone, "a").send().await.unwrap_err();
    let list = world.control.list_objects().set_parent(gone).send().await;
    let get = world.control.get_bucket().set_name(gone).send().await;

    assert_eq!((write.http_status_code(), read.http_status_code()), (Some(404), Some(404)));
    assert_eq!((code(list), code(get)), (Code::NotFound, Code::NotFound));
}

#[tokio::test]
async fn what_the_local_cloud_lacks_is_unimplemented() {
    let world = World::start().await;

    let folder = world.control.get_folder().set_name(format!("{BUCKET_RESOURCE}/folders/a")).send().await;
    let restored =
        world.control.restore_object().set_bucket(BUCKET_RESOURCE).set_object("a").set_generation(1).send().await;

    assert_eq!((code(folder), code(restored)), (Code::Unimplemented, Code::Unimplemented));
}
