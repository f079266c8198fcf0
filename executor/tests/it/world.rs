//! An executor in this process, with a directory of its own and a key that it trusts.

use std::time::Duration;

use executor::outbound::OutboundSettings;
use executor::settings::Settings;
use executor::{Executor, strategy};
use telemetry::LogFormat;
use tempfile::TempDir;

use crate::caller::Caller;
use crate::releases::{Script, Signer};

pub(crate) struct World {
    pub(crate) signer: Signer,
    pub(crate) settings: Settings,
    pub(crate) dir: TempDir,
}

impl World {
    /// Nothing runs yet; `settings` may still be changed.
    pub(crate) fn new() -> Self {
        let (signer, dir) = (Signer::new(), tempfile::tempdir().unwrap());
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            feed: Vec::new(),
            stack: "dev".into(),
            public_keys: signer.public_keys(),
            token: None,
            feed_token: None,
            cache_dir: None,
            release_config: dir.path().join("logic.lua"),
            node: "here".into(),
            threads: 2,
            strategy: strategy::Kind::ThreadPool { workers: 2 },
            drain: Duration::from_secs(5),
            log_filter: "info".into(),
            log_format: LogFormat::Json,
            lifeline: false,
            drills: false,
            outbound: OutboundSettings::default(),
            pubsub: None,
        };
        Self { signer, settings, dir }
    }

    /// With a release in the place of the Docker config.
    pub(crate) fn with_release(scripts: &[Script<'_>]) -> Self {
        let world = Self::new();
        let bundle = world.signer.bundle(1, scripts).encode().unwrap();
        fs_err::write(&world.settings.release_config, bundle).unwrap();
        world
    }

    /// Scripts run as `strategy` has it, and callers may ask for faults.
    pub(crate) fn drilling(mut self, strategy: strategy::Kind) -> Self {
        (self.settings.strategy, self.settings.drills) = (strategy, true);
        self
    }

    pub(crate) fn start(&self) -> Executor {
        Executor::start(self.settings.clone()).unwrap()
    }
}

/// An executor that runs `scripts`, and a caller of it.
pub(crate) async fn running(scripts: &[Script<'_>]) -> (World, Caller) {
    let world = World::with_release(scripts);
    let caller = Caller::connect(world.start().address()).await;
    (world, caller)
}
