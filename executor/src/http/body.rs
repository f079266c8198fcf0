//! Reading a request body under a limit and a deadline.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use contract::{Code, Problem};
use futures_util::poll;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use super::answer::Refused;

/// A megabyte in this time is 280 kbit/s; slower callers hold a connection for nothing.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is read and thrown away after a refusal, so that a caller that still writes sees the answer and not a reset
/// connection.
const DISCARD_BYTES_MAX: usize = 8 << 20;
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);

enum Stopped {
    TooLarge,
    Broken(hyper::Error),
}

/// The whole body, at most `bytes_max` of it; never holds more than that and one frame.
///
/// # Errors
/// `too_large` (at once where `content-length` says so), `bad_request` for a body that breaks off or comes too slowly.
pub(crate) async fn read(mut body: Incoming, headers: &HeaderMap, bytes_max: usize) -> Result<Bytes, Refused> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let declared = body.size_hint().lower();
    let stopped = if declared > bytes_max as u64 {
        Stopped::TooLarge
    } else {
        let mut collected = pin!(collect(&mut body, bytes_max));
        // Most bodies are there with their head, and then there is nothing to set a timer for.
        let collected = match poll!(collected.as_mut()) {
            Poll::Ready(collected) => Ok(collected),
            Poll::Pending => timeout(DEADLINE, collected).await,
        };
        match collected {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(stopped)) => stopped,
            Err(_) => {
                let detail = format!("the body did not arrive within {} s", DEADLINE.as_secs());
                return Err(Problem::new(Code::BadRequest, detail).into());
            }
        }
    };
    let problem = match stopped {
        Stopped::TooLarge => {
            discard(body, headers);
            let found = if declared > bytes_max as u64 { format!("{declared} bytes") } else { "more".to_owned() };
            Problem::new(Code::TooLarge, format!("the body may have {bytes_max} bytes, this one has {found}"))
                .with_hint("send less, or split the input over several calls")
        }
        Stopped::Broken(err) => {
            Problem::new(Code::BadRequest, format!("the body broke off: {}", telemetry::chain(&err)))
        }
    };
    Err(problem.into())
}

async fn collect(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, Stopped> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    // Asked before each frame: a body of known length has ended with its last byte, and waiting to be told so would cost
    // every request another turn of the connection.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame.map_err(Stopped::Broken)?.into_data() else { continue };
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(Stopped::TooLarge);
        }
        // Most bodies are one frame, and then nothing is copied.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// Reads on behind the answer. A caller that asked whether to send (RFC 9110 §10.1.1) has sent nothing yet.
fn discard(mut body: Incoming, headers: &HeaderMap) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    tokio::task::spawn_local(timeout(DISCARD_DEADLINE, async move {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(fewer) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
            left = fewer;
        }
    }));
}
