//! Messages on a socket: two lengths (32 bits each, little-endian), a head in JSON, and a body of bytes as it is.
//!
//! The other side is not trusted to keep to it: lengths have bounds, and what is no message ends the conversation.

use std::io;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

/// Bytes of the two lengths.
const LENGTHS: usize = 8;

/// A head holds at most one execution's log or one process's list of VMs.
const HEAD_BYTES_MAX: usize = 4 << 20;

/// A body is a source, an input or a result.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Reads heads of type `In` and writes any.
#[derive(Debug)]
pub(super) struct Codec<In>(PhantomData<In>);

impl<In> Default for Codec<In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<In: DeserializeOwned> Decoder for Codec<In> {
    type Item = (In, Bytes);
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<(In, Bytes)>> {
        let Some(mut lengths) = buffer.get(..LENGTHS) else { return Ok(None) };
        let (head, body) = (lengths.get_u32_le() as usize, lengths.get_u32_le() as usize);
        if head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
            return Err(invalid(format!("a message of {head} + {body} bytes")));
        }
        let whole = LENGTHS + head + body;
        if buffer.len() < whole {
            buffer.reserve(whole - buffer.len());
            return Ok(None);
        }
        let mut message = buffer.split_to(whole).freeze();
        message.advance(LENGTHS);
        let body = message.split_off(head);
        let head = serde_json::from_slice(&message).map_err(|err| invalid(format!("no message: {err}")))?;
        Ok(Some((head, body)))
    }
}

impl<In, Out: Serialize> Encoder<(Out, Bytes)> for Codec<In> {
    type Error = io::Error;

    fn encode(&mut self, (head, body): (Out, Bytes), buffer: &mut BytesMut) -> io::Result<()> {
        let head = serde_json::to_vec(&head)?;
        let length = |bytes: &[u8], max: usize| {
            u32::try_from(bytes.len())
                .ok()
                .filter(|_| bytes.len() <= max)
                .ok_or_else(|| invalid("too long a message".into()))
        };
        let (head_length, body_length) = (length(&head, HEAD_BYTES_MAX)?, length(&body, BODY_BYTES_MAX)?);
        buffer.reserve(LENGTHS + head.len() + body.len());
        buffer.put_u32_le(head_length);
        buffer.put_u32_le(body_length);
        buffer.put_slice(&head);
        buffer.put_slice(&body);
        Ok(())
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Texts = Codec<Vec<String>>;

    fn encoded(head: &[&str], body: &'static [u8]) -> BytesMut {
        let mut buffer = BytesMut::new();
        Texts::default().encode((head, Bytes::from_static(body)), &mut buffer).unwrap();
        buffer
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_arrive() {
        let mut sent = encoded(&["one"], b"\x00body");
        sent.unsplit(encoded(&["two"], b""));

        let (mut buffer, mut messages) = (BytesMut::new(), Vec::new());
        for byte in sent {
            buffer.put_u8(byte);
            messages.extend(Texts::default().decode(&mut buffer).unwrap());
        }

        let expected =
            [(vec!["one".to_owned()], Bytes::from_static(b"\x00body")), (vec!["two".to_owned()], Bytes::new())];
        assert_eq!(messages, expected);
    }

    #[test]
    fn nonsense_is_refused_before_it_is_kept() {
        let mut huge = BytesMut::from(&b"\xff\xff\xff\xff\0\0\0\0"[..]);
        assert_eq!(Texts::default().decode(&mut huge).unwrap_err().kind(), io::ErrorKind::InvalidData);

        let mut other = BytesMut::from(&b"\x02\0\0\0\0\0\0\0{}"[..]);
        assert_eq!(Texts::default().decode(&mut other).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
