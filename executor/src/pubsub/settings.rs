//! What an operator says about the front door.

use clap::Args;

/// Flags, as typed.
#[derive(Debug, Clone, Args)]
pub struct PubsubFlags {
    /// The Pub/Sub subscription whose messages are run; none if absent.
    #[arg(long, env = "MOONSWARM_PUBSUB_SUBSCRIPTION", value_name = "projects/P/subscriptions/S")]
    pub pubsub_subscription: Option<String>,
    /// Another Pub/Sub than Google's, spoken to without credentials.
    #[arg(long, env = "MOONSWARM_PUBSUB_ENDPOINT", value_name = "URL")]
    pub pubsub_endpoint: Option<String>,
    /// Messages that are run at the same time.
    #[arg(long, env = "MOONSWARM_PUBSUB_AT_ONCE", default_value_t = 64, value_name = "COUNT")]
    pub pubsub_at_once: usize,
    /// Messages of one tenant that are run at the same time.
    #[arg(long, env = "MOONSWARM_PUBSUB_TENANT_AT_ONCE", default_value_t = 16, value_name = "COUNT")]
    pub pubsub_tenant_at_once: usize,
}

/// What they mean here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubsubSettings {
    /// Full name, `projects/P/subscriptions/S`.
    pub subscription: String,
    /// Another Pub/Sub than Google's.
    pub endpoint: Option<String>,
    /// Executions of messages at once, 1 to 1000.
    pub at_once: usize,
    /// Of one tenant, 1 to 1000.
    pub tenant_at_once: usize,
}

impl PubsubFlags {
    /// Reads the flags; `None`: no messages are run.
    ///
    /// # Errors
    /// Every fault, a sentence each.
    pub fn settings(self) -> Result<Option<PubsubSettings>, Vec<String>> {
        let mut faults = Vec::new();
        if let Some(name) = &self.pubsub_subscription
            && !is_subscription(name)
        {
            faults.push(format!("`--pubsub-subscription` is `{name}`: expected projects/PROJECT/subscriptions/NAME"));
        }
        if let Some(url) = &self.pubsub_endpoint {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                faults.push(format!("`--pubsub-endpoint` is `{url}`: expected http://HOST:PORT or https://HOST:PORT"));
            }
            if self.pubsub_subscription.is_none() {
                faults.push("`--pubsub-endpoint` says where, and no `--pubsub-subscription` says what".to_owned());
            }
        }
        let counts =
            [("--pubsub-at-once", self.pubsub_at_once), ("--pubsub-tenant-at-once", self.pubsub_tenant_at_once)];
        for (flag, count) in counts {
            if !(1..=1000).contains(&count) {
                faults.push(format!("`{flag}` is {count}: expected 1 to 1000"));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(self.pubsub_subscription.map(|subscription| PubsubSettings {
            subscription,
            endpoint: self.pubsub_endpoint,
            at_once: self.pubsub_at_once,
            tenant_at_once: self.pubsub_tenant_at_once,
        }))
    }
}

fn is_subscription(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    matches!(parts[..], ["projects", project, "subscriptions", name] if !project.is_empty() && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        flags: PubsubFlags,
    }

    fn settings(arguments: &[&str]) -> Result<Option<PubsubSettings>, Vec<String>> {
        CommandLine::try_parse_from([&["x"], arguments].concat()).unwrap().flags.settings()
    }

    #[test]
    fn without_a_subscription_there_is_no_front_door() {
        assert_eq!(settings(&[]), Ok(None));
    }

    #[test]
    fn a_subscription_is_at_google_unless_said_otherwise() {
        let settings = settings(&["--pubsub-subscription", "projects/p/subscriptions/s"]).unwrap().unwrap();

        assert_eq!((settings.endpoint, settings.at_once, settings.tenant_at_once), (None, 64, 16));
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let faults =
            settings(&["--pubsub-endpoint", "here", "--pubsub-at-once", "0", "--pubsub-tenant-at-once", "1001"])
                .unwrap_err();
        let more = settings(&["--pubsub-subscription", "subscriptions/s"]).unwrap_err();

        insta::assert_snapshot!([faults, more].concat().join("\n"), @"
        `--pubsub-endpoint` is `here`: expected http://HOST:PORT or https://HOST:PORT
        `--pubsub-endpoint` says where, and no `--pubsub-subscription` says what
        `--pubsub-at-once` is 0: expected 1 to 1000
        `--pubsub-tenant-at-once` is 1001: expected 1 to 1000
        `--pubsub-subscription` is `subscriptions/s`: expected projects/PROJECT/subscriptions/NAME
        ");
    }
}
