//! Docker configs that hold releases: their names, their limits, and which of them nobody needs. Pure.
//!
//! A config can't be changed, so each release text is a config of its own, named by its content: doing the same
//! activation again finds the config of the first time.

use std::collections::HashSet;

use contract::Version;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::model::{Config, LABEL_RELEASE, LABEL_STACK, Service};
use super::spec;

/// Swarm takes configs of 1 up to this many bytes, exclusive (swarmkit `MaxConfigSize`, 1000 KiB).
pub(super) const CONFIG_BYTES_END: usize = 1000 * 1024;
/// Newest configs that stay though no service names them: for a manager that has made one and not yet used it, and for
/// operators who look back.
const KEPT: usize = 3;

const NAME_BYTES_MAX: usize = 64;
const PREFIX: &str = "moonswarm-";
const DIGITS: usize = 16;

/// Why a release can't be a config.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The name of the stack stands in the name of each config.
    #[error(
        "stack `{stack}` can't be in the name of a Docker config; \
         use 1 to {max} of the letters, digits, `-`, `_` and `.`",
        max = stack_bytes_max()
    )]
    Stack {
        /// The stack.
        stack: String,
    },
    /// Swarm would refuse it.
    #[error(
        "release {release} is a text of {bytes} bytes and a Docker config holds less than {end}; \
         activate it live, which has no such limit, or remove scripts that are not used",
        end = CONFIG_BYTES_END
    )]
    TooLarge {
        /// Number of the release.
        release: u64,
        /// Bytes of its text.
        bytes: usize,
    },
}

/// Checks that names of configs can hold `stack` (swarmkit: at most 64 of `[a-zA-Z0-9-_.]`).
pub(super) fn check_stack(stack: &str) -> Result<(), ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=stack_bytes_max()).contains(&stack.len()) && stack.bytes().all(allowed) {
        return Ok(());
    }
    Err(ConfigError::Stack { stack: stack.to_owned() })
}

/// Checks the size of a release's text.
pub(super) fn check_size(release: u64, text: &[u8]) -> Result<(), ConfigError> {
    if (1..CONFIG_BYTES_END).contains(&text.len()) {
        return Ok(());
    }
    Err(ConfigError::TooLarge { release, bytes: text.len() })
}

/// The name of the config with this content: `moonswarm-STACK-` and the first 16 hex digits of its SHA-256.
pub(super) fn name_of(stack: &str, text: &[u8]) -> String {
    format!("{PREFIX}{stack}-{}", &Version::of(text).as_str()[..DIGITS])
}

/// The body that creates a config. No `Templating`: Swarm would then evaluate `{{…}}` in scripts.
pub(super) fn new_config(name: &str, stack: &str, release: u64, text: &[u8]) -> Value {
    json!({
        "Name": name,
        "Labels": { LABEL_STACK: stack, LABEL_RELEASE: release.to_string() },
        "Data": BASE64.encode(text),
    })
}

/// Whether the config holds exactly `text`.
pub(super) fn holds(config: &Config, text: &[u8]) -> bool {
    config.spec.data.as_deref().is_some_and(|data| data == BASE64.encode(text))
}

/// Ids of the configs in `all` that hold releases of `stack` and that nobody needs, oldest first.
///
/// Needed are the newest [`KEPT`], and what any of `services` names in its spec or in the spec a rollback would go back
/// to: Swarm itself only guards the first of the two, and a rollback to a config that is gone can't start a task.
pub(super) fn collectable(stack: &str, all: &[Config], services: &[Service]) -> Vec<String> {
    let specs = services.iter().flat_map(|service| [Some(&service.spec), service.previous_spec.as_ref()]);
    let named: HashSet<&str> = specs.flatten().flat_map(spec::config_ids).collect();
    let mut ours: Vec<&Config> = all.iter().filter(|config| is_of(config, stack)).collect();
    ours.sort_by_key(|config| config.version);
    ours.truncate(ours.len().saturating_sub(KEPT));
    ours.into_iter().filter(|config| !named.contains(config.id.as_str())).map(|config| config.id.clone()).collect()
}

/// Operators may label configs of their own with our stack; only what has our form of name is ours to remove.
fn is_of(config: &Config, stack: &str) -> bool {
    let label = |key| config.spec.labels.as_ref().and_then(|labels| labels.get(key));
    let digits = config.spec.name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(stack)?.strip_prefix('-'));
    label(LABEL_STACK).is_some_and(|of| of == stack)
        && label(LABEL_RELEASE).is_some()
        && digits.is_some_and(|digits| digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

const fn stack_bytes_max() -> usize {
    NAME_BYTES_MAX - PREFIX.len() - 1 - DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(index: u64, name: &str) -> Config {
        let labels = json!({ LABEL_STACK: "dev", LABEL_RELEASE: "1" });
        let config = json!({ "ID": format!("c{index}"), "Version": { "Index": index },
                             "Spec": { "Name": name, "Labels": labels } });
        serde_json::from_value(config).unwrap()
    }

    fn configs(indexes: impl IntoIterator<Item = u64>) -> Vec<Config> {
        indexes.into_iter().map(|index| config(index, &name_of("dev", &index.to_be_bytes()))).collect()
    }

    fn service(now: &str, previous: Option<&str>) -> Service {
        let spec = |id| {
            let file = json!({ "Name": spec::TARGET });
            json!({ "TaskTemplate": { "ContainerSpec": { "Configs": [{ "ConfigID": id, "File": file }] } } })
        };
        let service =
            json!({ "ID": "s", "Version": { "Index": 9 }, "Spec": spec(now), "PreviousSpec": previous.map(spec) });
        serde_json::from_value(service).unwrap()
    }

    #[test]
    fn a_config_is_named_by_its_content() {
        assert_eq!(name_of("dev", b"return 1"), name_of("dev", b"return 1"));
        assert_ne!(name_of("dev", b"return 1"), name_of("dev", b"return 2"));
        insta::assert_snapshot!(name_of("dev", b"return 1"), @"moonswarm-dev-486d9affb60dbb00");
        assert_eq!(name_of(&"s".repeat(37), b"").len(), 64);
    }

    #[test]
    fn stacks_that_would_make_a_bad_name_are_refused() {
        for good in ["dev", "eu-west_1.prod", &"s".repeat(37)] {
            assert!(check_stack(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b", "späti", &"s".repeat(38)] {
            assert!(check_stack(bad).is_err(), "{bad}");
        }
        insta::assert_snapshot!(
            check_stack("a b").unwrap_err(),
            @"stack `a b` can't be in the name of a Docker config; use 1 to 37 of the letters, digits, `-`, `_` and `.`"
        );
    }

    #[test]
    fn sizes_are_checked_at_swarms_own_border() {
        for (bytes, fits) in [(0, false), (1, true), (1_023_999, true), (1_024_000, false)] {
            assert_eq!(check_size(7, &vec![b'x'; bytes]).is_ok(), fits, "{bytes}");
        }
        insta::assert_snapshot!(
            check_size(7, &vec![b'x'; 1_024_000]).unwrap_err(),
            @"release 7 is a text of 1024000 bytes and a Docker config holds less than 1024000; activate it live, which has no such limit, or remove scripts that are not used"
        );
    }

    #[test]
    fn a_new_config_is_labelled_and_never_a_template() {
        insta::assert_snapshot!(
            new_config("n", "dev", 7, b"return 1 -- {{.Node.ID}}"),
            @r#"{"Data":"cmV0dXJuIDEgLS0ge3suTm9kZS5JRH19","Labels":{"moonswarm.release":"7","moonswarm.stack":"dev"},"Name":"n"}"#
        );
    }

    #[test]
    fn a_config_of_the_same_name_is_reused_only_with_the_same_content() {
        let mut config = config(1, "n");
        assert!(!holds(&config, b"return 1"));
        config.spec.data = Some(BASE64.encode(b"return 1"));
        assert!(holds(&config, b"return 1"));
        assert!(!holds(&config, b"return 2"));
    }

    #[test]
    fn what_a_spec_or_a_rollback_needs_is_never_collected() {
        for (title, indexes, services, expected) in [
            ("nothing there", vec![], vec![], vec![]),
            ("the newest three stay", vec![1, 2, 3], vec![], vec![]),
            ("older ones go", vec![5, 1, 4, 2, 3], vec![], vec!["c1", "c2"]),
            ("not the running one", vec![1, 2, 3, 4, 5], vec![service("c1", None)], vec!["c2"]),
            ("not the one before it", vec![1, 2, 3, 4, 5], vec![service("c5", Some("c1"))], vec!["c2"]),
            (
                "whatever service names them",
                vec![1, 2, 3, 4, 5, 6],
                vec![service("c6", None), service("c1", Some("c2"))],
                vec!["c3"],
            ),
        ] {
            assert_eq!(collectable("dev", &configs(indexes), &services), expected, "{title}");
        }
    }

    #[test]
    fn configs_of_others_are_not_ours_to_remove() {
        let mut all = configs(10..13);
        let mut of_another_stack = config(1, &name_of("prod", b"x"));
        of_another_stack.spec.labels.as_mut().unwrap().insert(LABEL_STACK.into(), "prod".into());
        let mut without_release = config(2, &name_of("dev", b"x"));
        without_release.spec.labels.as_mut().unwrap().remove(LABEL_RELEASE);
        let mut without_labels = config(3, &name_of("dev", b"y"));
        without_labels.spec.labels = None;
        all.extend([of_another_stack, without_release, without_labels]);
        all.extend([
            config(4, "settings-dev"),
            config(5, "moonswarm-dev-settings"),
            config(6, "moonswarm-dev2-0123456789abcdef"),
        ]);

        assert_eq!(collectable("dev", &all, &[]), Vec::<String>::new());
    }
}
