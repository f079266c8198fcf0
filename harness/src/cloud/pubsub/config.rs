//! Settings of topics and subscriptions: what is allowed, and what it means for delivery. Pure.
//!
//! Settings that the local cloud would not obey are refused, so that nobody tests against a promise that is not kept.

use std::time::Duration;

use super::error::PubSubError;
use crate::cloud::generated::pubsub as pb;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) ack_deadline: Duration,
    /// How long a message that nobody acknowledges is kept.
    pub(super) retention: Duration,
    /// One message of an ordering key at a time.
    pub(super) ordering: bool,
    /// Deliveries after which a message goes to the dead letter topic.
    pub(super) max_attempts: Option<i32>,
    /// Shortest and longest wait before a message comes again.
    pub(super) backoff: Option<(Duration, Duration)>,
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Topic,
    Subscription,
}

impl Kind {
    fn collection(self) -> &'static str {
        match self {
            Self::Topic => "topics",
            Self::Subscription => "subscriptions",
        }
    }
}

/// `projects/P/topics/T` or `projects/P/subscriptions/S`.
/// Rules of ids: <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>
pub(super) fn check_name(kind: Kind, name: &str) -> Result<(), PubSubError> {
    let parts: Vec<&str> = name.split('/').collect();
    let id = match parts.as_slice() {
        ["projects", project, collection, id] if !project.is_empty() && *collection == kind.collection() => *id,
        _ => {
            let form = format!("projects/PROJECT/{}/ID", kind.collection());
            return Err(PubSubError::invalid(format!("Invalid resource name (name={name}): it must be {form}.")));
        }
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~+%".contains(c);
    let good = (3..=255).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(allowed)
        && !id.starts_with("goog");
    if good {
        return Ok(());
    }
    let rule = "3 to 255 letters, digits and -_.~+%, a letter first, not `goog`";
    Err(PubSubError::invalid(format!("Invalid resource id (id={id}): it must be {rule}.")))
}

pub(super) fn check_topic(topic: &pb::Topic) -> Result<(), PubSubError> {
    check_name(Kind::Topic, &topic.name)?;
    let kept =
        pb::Topic { name: topic.name.clone(), labels: topic.labels.clone(), state: topic.state, ..Default::default() };
    if *topic != kept {
        return Err(PubSubError::not_implemented("topic settings other than labels"));
    }
    Ok(())
}

/// Fills in defaults and refuses what is out of bounds or not implemented.
pub(super) fn checked_subscription(mut config: pb::Subscription) -> Result<pb::Subscription, PubSubError> {
    check_name(Kind::Subscription, &config.name)?;
    check_name(Kind::Topic, &config.topic)?;
    if config.push_config.as_ref().is_some_and(|push| *push != pb::PushConfig::default()) {
        return Err(PubSubError::not_implemented("push subscriptions"));
    }
    let unkept = [
        ("bigquery_config", config.bigquery_config.is_some()),
        ("bigtable_config", config.bigtable_config.is_some()),
        ("cloud_storage_config", config.cloud_storage_config.is_some()),
        ("enable_exactly_once_delivery", config.enable_exactly_once_delivery),
        ("filter", !config.filter.is_empty()),
        ("message_transforms", !config.message_transforms.is_empty()),
        ("retain_acked_messages", config.retain_acked_messages),
    ];
    if let Some((name, _)) = unkept.into_iter().find(|(_, wanted)| *wanted) {
        return Err(PubSubError::not_implemented(format!("the subscription field `{name}`")));
    }
    if config.ack_deadline_seconds == 0 {
        config.ack_deadline_seconds = 10;
    }
    check_ack_deadline(config.ack_deadline_seconds)?;
    if config.message_retention_duration.is_none() {
        config.message_retention_duration = prost_types::Duration::try_from(7 * DAY).ok();
    }
    if let Some(dead) = &mut config.dead_letter_policy {
        check_name(Kind::Topic, &dead.dead_letter_topic)?;
        if dead.max_delivery_attempts == 0 {
            dead.max_delivery_attempts = 5;
        }
        if !(5..=100).contains(&dead.max_delivery_attempts) {
            return Err(PubSubError::invalid("max_delivery_attempts must be 5 to 100."));
        }
    }
    let retention = duration(config.message_retention_duration, 7 * DAY)?;
    if retention < Duration::from_secs(600) || retention > 31 * DAY {
        return Err(PubSubError::invalid("message_retention_duration must be 10 minutes to 31 days."));
    }
    // Told, never stored.
    config.state = pb::subscription::State::Active as i32;
    Policy::of(&config)?;
    Ok(config)
}

/// Google's bounds on how long a lease may be, in seconds.
pub(super) fn check_ack_deadline(seconds: i32) -> Result<(), PubSubError> {
    if (10..=600).contains(&seconds) {
        return Ok(());
    }
    Err(PubSubError::invalid(format!("Invalid ack deadline given (seconds={seconds}): it must be 10 to 600.")))
}

/// `old` with what the mask's paths name taken from `new`. Paths in snake case, as in the proto.
pub(super) fn updated_subscription(
    old: &pb::Subscription,
    new: &pb::Subscription,
    paths: &[String],
) -> Result<pb::Subscription, PubSubError> {
    if paths.is_empty() {
        return Err(PubSubError::invalid("The update_mask in the request must be set, and must contain valid paths."));
    }
    let mut config = old.clone();
    for path in paths {
        match path.as_str() {
            "ack_deadline_seconds" => config.ack_deadline_seconds = new.ack_deadline_seconds,
            "message_retention_duration" => config.message_retention_duration = new.message_retention_duration,
            "labels" => config.labels.clone_from(&new.labels),
            "dead_letter_policy" => config.dead_letter_policy.clone_from(&new.dead_letter_policy),
            "retry_policy" => config.retry_policy = new.retry_policy,
            "expiration_policy" => config.expiration_policy = new.expiration_policy,
            path => {
                let message = format!("Invalid update_mask provided (path={path}): the field can't be changed.");
                return Err(PubSubError::invalid(message));
            }
        }
    }
    checked_subscription(config)
}

impl Policy {
    pub(super) fn of(config: &pb::Subscription) -> Result<Self, PubSubError> {
        let backoff = match &config.retry_policy {
            Some(retry) => {
                let least = duration(retry.minimum_backoff, Duration::from_secs(10))?;
                let most = duration(retry.maximum_backoff, Duration::from_secs(600))?;
                if least > most || most > Duration::from_secs(600) {
                    return Err(PubSubError::invalid("retry_policy must have 0 <= minimum <= maximum <= 600 seconds."));
                }
                Some((least, most))
            }
            None => None,
        };
        Ok(Self {
            ack_deadline: Duration::from_secs(config.ack_deadline_seconds.try_into().unwrap_or(10)),
            retention: duration(config.message_retention_duration, 7 * DAY)?,
            ordering: config.enable_message_ordering,
            max_attempts: config.dead_letter_policy.as_ref().map(|dead| dead.max_delivery_attempts),
            backoff,
        })
    }
}

fn duration(given: Option<prost_types::Duration>, default: Duration) -> Result<Duration, PubSubError> {
    let Some(given) = given else { return Ok(default) };
    Duration::try_from(given).map_err(|_| PubSubError::invalid(format!("Invalid duration: {given}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_googles_rules() {
        for good in ["projects/p/topics/abc", "projects/p/topics/a-b_c.d~e+f%g"] {
            assert_eq!(check_name(Kind::Topic, good), Ok(()), "{good}");
        }
        for bad in ["abc", "projects/p/topics/ab", "projects/p/topics/1bc", "projects//topics/abc"] {
            assert!(check_name(Kind::Topic, bad).is_err(), "{bad}");
        }
        assert!(check_name(Kind::Topic, "projects/p/subscriptions/abc").is_err());
    }

    #[test]
    fn what_would_not_be_obeyed_is_refused() {
        let plain = pb::Subscription {
            name: "projects/p/subscriptions/abc".into(),
            topic: "projects/p/topics/abc".into(),
            ..Default::default()
        };
        let code = |config: pb::Subscription| checked_subscription(config).map_err(|error| error.http().0).err();

        assert_eq!(code(plain.clone()), None);
        assert_eq!(code(pb::Subscription { filter: "x".into(), ..plain.clone() }), Some(501));
        assert_eq!(code(pb::Subscription { enable_exactly_once_delivery: true, ..plain.clone() }), Some(501));
        assert_eq!(code(pb::Subscription { ack_deadline_seconds: 5, ..plain }), Some(400));
    }
}
