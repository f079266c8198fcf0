//! What a message may be: <https://cloud.google.com/pubsub/quotas#resource_limits>. Pure.

use std::collections::HashMap;

use super::error::PubSubError;
use crate::cloud::generated::pubsub::PubsubMessage;

const PUBLISH_MESSAGES_MAX: usize = 1000;
const PUBLISH_BYTES_MAX: usize = 10_000_000;
const ATTRIBUTES_MAX: usize = 100;

/// Checks what one request publishes.
pub(super) fn check_messages(messages: &[PubsubMessage]) -> Result<(), PubSubError> {
    let invalid = |message: String| Err(PubSubError::invalid(message));
    if messages.is_empty() || messages.len() > PUBLISH_MESSAGES_MAX {
        return invalid(format!("The number of messages must be 1 to {PUBLISH_MESSAGES_MAX}."));
    }
    if messages.iter().map(|message| message.data.len()).sum::<usize>() > PUBLISH_BYTES_MAX {
        return invalid(format!("The request has more than {PUBLISH_BYTES_MAX} bytes of data."));
    }
    for message in messages {
        if message.data.is_empty() && message.attributes.is_empty() {
            return invalid("Some messages in the batch are empty: a message needs data or attributes.".into());
        }
        check_attributes(&message.attributes)?;
        if message.ordering_key.len() > 1024 {
            return invalid("The ordering key has more than 1024 bytes.".into());
        }
    }
    Ok(())
}

fn check_attributes(attributes: &HashMap<String, String>) -> Result<(), PubSubError> {
    let good = attributes.len() <= ATTRIBUTES_MAX
        && attributes
            .iter()
            .all(|(name, value)| (1..=256).contains(&name.len()) && !name.starts_with("goog") && value.len() <= 1024);
    if good {
        return Ok(());
    }
    let rule = "at most 100, names of 1 to 256 bytes that do not begin with `goog`, values of up to 1024 bytes";
    Err(PubSubError::invalid(format!("The attributes of a message are out of bounds: {rule}.")))
}
