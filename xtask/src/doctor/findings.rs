//! What the things that were seen mean. Pure.

use harness::rig::{Facts, NoEngine, Presence};

use super::Finding;
use super::probe::Seen;

/// A program that others start.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    /// What makes it tell its version.
    pub(super) ask: &'static [&'static str],
    /// What does not work without it.
    pub(super) without: &'static str,
    pub(super) mend: &'static str,
}

/// Nothing can be built without these.
pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "rust",
        ask: &["rustc", "--version"],
        without: "nothing can be built",
        mend: "install rustup from https://rustup.rs",
    },
    Tool {
        name: "c++ compiler",
        ask: &["c++", "--version"],
        without: "Luau, which is C++, can't be built",
        mend: "sudo apt-get install g++",
    },
    Tool {
        name: "git",
        ask: &["git", "--version"],
        without: "images don't name their revision",
        mend: "sudo apt-get install git",
    },
];

/// Some commands do less without these, and say so.
pub(super) const OPTIONAL_TOOLS: &[Tool] = &[
    Tool {
        name: "cargo-nextest",
        ask: &["cargo", "nextest", "--version"],
        without: "tests run with `cargo test`, one program after the other",
        mend: "cargo install cargo-nextest --locked",
    },
    Tool {
        name: "cargo-deny",
        ask: &["cargo", "deny", "--version"],
        without: "`cargo xtask ci` skips the check of dependencies",
        mend: "cargo install cargo-deny --locked",
    },
    Tool {
        name: "cargo-fuzz",
        ask: &["rustup", "run", "nightly", "cargo", "fuzz", "--version"],
        without: "`cargo xtask ci` skips the fuzz targets (their entry points run in the tests under a seeded driver)",
        mend: "rustup toolchain install nightly && cargo install cargo-fuzz --locked",
    },
    Tool {
        name: "nginx",
        ask: &["nginx", "-v"],
        without: "`cargo xtask bench` leaves nginx + Lua out of the comparison",
        mend: "cargo xtask bench peers --install",
    },
    Tool {
        name: "gcloud",
        ask: &["gcloud", "--version"],
        without: "the local cloud is not held against Google's own client; nothing else needs it",
        mend: "see https://cloud.google.com/sdk/docs/install",
    },
    Tool {
        name: "ssh",
        ask: &["ssh", "-V"],
        without: "a Swarm on other machines can't be reached",
        mend: "sudo apt-get install openssh-client",
    },
];

/// The manager, three executors and the local cloud of `cargo xtask dev`.
pub(super) const DEV_PORTS: [u16; 5] = [7700, 7701, 7702, 7703, 7799];

/// Both builds, developer's and images', with tests: 15 GiB were seen.
const NEEDED_BYTES: u64 = 20 << 30;
/// Three nodes, six executors and a compiler.
const NEEDED_MEMORY: i64 = 6 << 30;

pub(super) fn all(seen: &Seen) -> Vec<Finding> {
    let (needed, optional) = seen.tools.split_at(TOOLS.len());
    let mut found: Vec<Finding> =
        TOOLS.iter().zip(needed).map(|(tool, told)| is_there(tool, told, Finding::wrong)).collect();
    found.push(disk(seen.free_bytes));
    found.push(ports(&seen.taken_ports));
    found.extend(engine(&seen.engine));
    found.extend(OPTIONAL_TOOLS.iter().zip(optional).map(|(tool, told)| is_there(tool, told, Finding::without)));
    found
}

fn is_there(tool: &Tool, told: &Option<String>, missing: fn(&str, String) -> Finding) -> Finding {
    match told {
        Some(version) => Finding::fine(tool.name, version.as_str()),
        None => missing(tool.name, tool.without.to_owned()).mend(tool.mend),
    }
}

fn disk(free: Option<u64>) -> Finding {
    let subject = "disk";
    let gib = |bytes: u64| bytes >> 30;
    match free {
        None => Finding::without(subject, "the system does not tell how much is free"),
        Some(free) if free < NEEDED_BYTES => {
            let detail = format!(
                "{} GiB are free; a whole build with tests and images takes up to {}",
                gib(free),
                gib(NEEDED_BYTES)
            );
            Finding::wrong(subject, detail).mend("cargo clean, or set CARGO_TARGET_DIR to a folder on a larger disk")
        }
        Some(free) => Finding::fine(subject, format!("{} GiB are free", gib(free))),
    }
}

fn ports(taken: &[u16]) -> Finding {
    let subject = "ports";
    if taken.is_empty() {
        return Finding::fine(subject, "those of `cargo xtask dev` are free");
    }
    let taken = taken.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    Finding::without(subject, format!("{taken} taken, perhaps by a running `cargo xtask dev`"))
        .mend("cargo xtask dev --port PORT")
}

fn engine(engine: &Result<Facts, NoEngine>) -> Vec<Finding> {
    let subject = "docker engine";
    let facts = match engine {
        Ok(facts) => facts,
        // Its sentence says what to do.
        Err(none) => return vec![Finding::wrong(subject, format!("`cargo xtask e2e` can't run: {none}"))],
    };
    let mut found = vec![
        Finding::fine(subject, format!("{}, storage {}, cgroup {}", facts.engine, facts.storage_driver, facts.cgroup)),
        memory(facts.memory_bytes),
    ];
    found.extend(FEATURES.iter().map(|feature| feature.of(facts)));
    found
}

fn memory(bytes: i64) -> Finding {
    let detail = format!("{} GiB, {} needed by `cargo xtask e2e`", bytes >> 30, NEEDED_MEMORY >> 30);
    let subject = "memory";
    if bytes < NEEDED_MEMORY { Finding::without(subject, detail) } else { Finding::fine(subject, detail) }
}

/// What a kernel is asked for.
struct Feature {
    name: &'static str,
    needed: bool,
    without: &'static str,
}

const FEATURES: [Feature; 4] = [
    Feature { name: "overlayfs", needed: true, without: "containers have no file system" },
    Feature { name: "vxlan", needed: true, without: "Swarm has no networks over several nodes" },
    Feature {
        name: "ipvs",
        needed: false,
        without: "Swarm has no virtual addresses and no ingress; stacks here use neither",
    },
    Feature {
        name: "landlock",
        needed: false,
        without: "worker processes of `--strategy process-pool` are held by seccomp and limits alone",
    },
];

impl Feature {
    fn of(&self, facts: &Facts) -> Finding {
        let subject = format!("kernel: {}", self.name);
        match facts.kernel_features.get(self.name).copied().unwrap_or(Presence::Unknown) {
            Presence::Present => Finding::fine(&subject, "built in"),
            Presence::Module => Finding::fine(&subject, "a module"),
            Presence::Unknown => {
                Finding::without(&subject, "the kernel does not tell (no /proc/config.gz, no file in /boot)")
            }
            Presence::Absent if self.needed => Finding::wrong(&subject, format!("not built: {}", self.without))
                .mend("boot a kernel of your distribution"),
            Presence::Absent => Finding::without(&subject, format!("not built: {}", self.without)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::State;
    use super::*;

    fn facts(kernel_features: &[(&str, Presence)]) -> Facts {
        Facts {
            engine: "20.10.24".into(),
            kernel: "6.18.0".into(),
            cgroup: "v1".into(),
            storage_driver: "overlay2".into(),
            processors: 2,
            memory_bytes: 24 << 30,
            kernel_features: kernel_features
                .iter()
                .map(|(name, presence)| ((*name).to_owned(), *presence))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    fn seen() -> Seen {
        let kernel = [
            ("overlayfs", Presence::Present),
            ("vxlan", Presence::Module),
            ("ipvs", Presence::Absent),
            ("landlock", Presence::Present),
        ];
        Seen {
            tools: vec![Some("1.0".to_owned()); TOOLS.len() + OPTIONAL_TOOLS.len()],
            engine: Ok(facts(&kernel)),
            free_bytes: Some(80 << 30),
            taken_ports: Vec::new(),
        }
    }

    fn wrong(seen: &Seen) -> Vec<String> {
        let wrong = all(seen).into_iter().filter(|finding| finding.state == State::Wrong);
        wrong.map(|finding| format!("{}: {}", finding.subject, finding.mend.unwrap_or(finding.detail))).collect()
    }

    #[test]
    fn a_whole_machine_has_nothing_wrong() {
        assert_eq!(wrong(&seen()), [""; 0]);
    }

    #[test]
    fn a_missing_compiler_is_wrong_and_a_missing_extra_is_not() {
        let mut seen = seen();
        seen.tools[1] = None;
        seen.tools[TOOLS.len()] = None;

        assert_eq!(wrong(&seen), ["c++ compiler: sudo apt-get install g++"]);
    }

    #[test]
    fn a_full_disk_is_wrong_before_a_build_finds_out() {
        assert_eq!(
            wrong(&Seen { free_bytes: Some(3 << 30), ..seen() }),
            ["disk: cargo clean, or set CARGO_TARGET_DIR to a folder on a larger disk"]
        );
    }

    #[test]
    fn a_kernel_without_networks_between_nodes_is_wrong() {
        let engine = Ok(facts(&[("overlayfs", Presence::Present), ("vxlan", Presence::Absent)]));

        assert_eq!(wrong(&Seen { engine, ..seen() }), ["kernel: vxlan: boot a kernel of your distribution"]);
    }

    #[test]
    fn no_engine_is_told_in_its_own_sentence() {
        let engine = Err(NoEngine::Remote { host: "tcp://192.0.2.7:2375".into() });

        assert!(
            wrong(&Seen { engine, ..seen() })[0]
                .starts_with("docker engine: `cargo xtask e2e` can't run: the Docker engine at tcp://192.0.2.7")
        );
    }
}
