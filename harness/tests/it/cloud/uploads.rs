//! All ways to upload an object, by the official client and by plain HTTP.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HOST, LOCATION, RANGE};
use reqwest::{Response, StatusCode};

use super::{BUCKET, BUCKET_RESOURCE, RESUMABLE_FROM, World};

const QUANTUM: usize = 256 * 1024;

impl World {
    /// Starts a resumable upload; returns the session's URL.
    async fn start_upload(&self, object: &str, condition: &str) -> Response {
        let path = format!("/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name={object}{condition}");
        // A server that believes this header would send the client to nowhere.
        self.http.post(self.url(&path)).header(HOST, "elsewhere").send().await.unwrap()
    }

    async fn send_piece(&self, session: &str, range: &str, bytes: &[u8]) -> Response {
        let request = self.http.put(session).header(CONTENT_RANGE, range).body(bytes.to_vec());
        request.send().await.unwrap()
    }
}

fn session(started: &Response) -> String {
    started.headers()[LOCATION].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_large_object_arrives_in_pieces() {
    let world = World::start().await;
    // 251 is prime: a piece that lands in a wrong place shows.
    let content: Vec<u8> = (0..=250).cycle().take(RESUMABLE_FROM * 4 + 5).collect();
    let upload = |generation| {
        let write = world.storage.write_object(BUCKET_RESOURCE, "large", Bytes::from(content.clone()));
        write.set_if_generation_match(generation).send_buffered()
    };

    let written = upload(0).await.unwrap();
    let again = upload(0).await.unwrap_err();

    assert_eq!(usize::try_from(written.size).unwrap(), content.len());
    assert_eq!(again.http_status_code(), Some(412));
    assert_eq!(world.read("large", None).await.unwrap(), content);
}

#[tokio::test]
async fn a_streamed_upload_keeps_exactly_its_bytes() {
    let world = World::start().await;
    let large = Bytes::from(vec![7_u8; RESUMABLE_FROM * 2]);

    // The small one carries its checksum in a third part, the large one is sent as one piece of a session.
    let small = world.storage.write_object(BUCKET_RESOURCE, "small", "return 3").send_unbuffered().await.unwrap();
    let streamed = world.storage.write_object(BUCKET_RESOURCE, "large", large.clone()).send_unbuffered().await.unwrap();

    assert_eq!((small.size, usize::try_from(streamed.size).unwrap()), (8, large.len()));
    assert_eq!(world.read("small", None).await.unwrap(), b"return 3");
    assert_eq!(world.read("large", None).await.unwrap(), large);
}

#[tokio::test]
async fn an_empty_object_is_an_object() {
    let world = World::start().await;

    let written = world.storage.write_object(BUCKET_RESOURCE, "empty", "").send_buffered().await.unwrap();

    assert_eq!(written.size, 0);
    assert_eq!(world.read("empty", None).await.unwrap(), b"");
}

#[tokio::test]
async fn a_session_tells_how_far_it_is_and_goes_on_from_there() {
    let world = World::start().await;
    let content = vec![1; QUANTUM + 100];
    let session = session(&world.start_upload("a", "").await);
    assert!(session.starts_with(world.cloud.url()), "{session}");

    let total = content.len();
    let nothing = world.send_piece(&session, "bytes */*", b"").await;
    let broken_off = world.send_piece(&session, &format!("bytes 0-{}/*", total - 1), &content).await;
    let asked = world.send_piece(&session, &format!("bytes */{total}"), b"").await;
    let rest = format!("bytes {QUANTUM}-{}/{total}", total - 1);
    let done = world.send_piece(&session, &rest, &content[QUANTUM..]).await;
    let again = world.send_piece(&session, "bytes */*", b"").await;

    assert_eq!((nothing.status(), nothing.headers().get(RANGE)), (StatusCode::PERMANENT_REDIRECT, None));
    for answer in [&broken_off, &asked] {
        assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(answer.headers()[RANGE], format!("bytes=0-{}", QUANTUM - 1));
    }
    assert_eq!((done.status(), again.status()), (StatusCode::OK, StatusCode::OK));
    assert_eq!(world.read("a", None).await.unwrap(), content);
    assert_eq!(world.cloud.storage().list(BUCKET, "").unwrap().len(), 1);
}

#[tokio::test]
async fn a_condition_holds_when_the_session_ends_not_only_when_it_starts() {
    let world = World::start().await;
    let session = session(&world.start_upload("a", "&ifGenerationMatch=0").await);
    world.put("a", "faster");

    let late = world.send_piece(&session, "bytes 0-3/4", b"late").await;
    let never = world.start_upload("a", "&ifGenerationMatch=0").await;

    assert_eq!((late.status(), never.status()), (StatusCode::PRECONDITION_FAILED, StatusCode::PRECONDITION_FAILED));
    assert_eq!(world.read("a", None).await.unwrap(), b"faster");
}

#[tokio::test]
async fn a_cancelled_session_is_gone() {
    let world = World::start().await;
    let session = session(&world.start_upload("a", "").await);

    let cancelled = world.http.delete(&session).send().await.unwrap();
    let after = world.send_piece(&session, "bytes 0-0/1", b"1").await;

    assert_eq!((cancelled.status().as_u16(), after.status()), (499, StatusCode::NOT_FOUND));
}

#[tokio::test]
async fn a_plain_upload_obeys_its_condition_and_its_type() {
    let world = World::start().await;
    let upload = async |content: &'static str| {
        let path = "/upload/storage/v1/b/scripts/o?uploadType=media&name=a&ifGenerationMatch=0";
        let request = world.http.post(world.url(path)).header(CONTENT_TYPE, "text/x-lua").body(content);
        request.send().await.unwrap()
    };

    let first = upload("1").await;
    let second = upload("2").await;

    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::PRECONDITION_FAILED));
    assert!(first.text().await.unwrap().contains(r#""contentType":"text/x-lua""#));
    assert_eq!(world.read("a", None).await.unwrap(), b"1");
}

#[tokio::test]
async fn bytes_that_differ_from_their_checksum_are_refused() {
    let world = World::start().await;
    let session = session(&world.start_upload("a", "").await);
    let request = world.http.put(&session).header("x-goog-hash", "crc32c=AAAAAA==").body("1");

    let refused = request.send().await.unwrap();

    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.text().await.unwrap().contains("doesn't match calculated CRC32C"));
    assert_eq!(world.read("a", None).await.unwrap_err().http_status_code(), Some(404));
}
