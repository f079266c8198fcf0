//! The image of a node: an engine and what it needs, copied from the host. No registry, no Dockerfile, no network.
//!
//! The image is named by what went into it, so it is built once and again only when the host's programs or this recipe
//! change. It is the one thing a run leaves in the outer engine; older ones are removed when a new one is made.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder};
use deploy::image::archive::{ImageArchive, Layer, Start, sha256};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::closure::{Trees, library_folders};
use super::debs;
use super::engine::Engine;

const REPOSITORY: &str = "moonswarm/node";
const ENTRY: &str = "/usr/bin/node-start";
const ENTRY_SCRIPT: &str = include_str!("node-start.sh");
/// What makes a node a machine of the local cloud, with its place in the image.
const MACHINE_SCRIPTS: [(&str, &str); 4] = [
    ("/usr/bin/machine", include_str!("machine.sh")),
    ("/usr/local/bin/blkid", include_str!("blkid.sh")),
    ("/usr/local/bin/mount", include_str!("mount.sh")),
    ("/usr/local/bin/systemctl", include_str!("systemctl.sh")),
];

/// What must be there, by the names it goes by; stored under the first name. `dash` comes before `sh` because it is a
/// tenth of the size of what `sh` often is; the entry script is written for it.
const NEEDED: [&[&str]; 9] = [
    &["dockerd"],
    &["containerd"],
    &["containerd-shim-runc-v2"],
    &["runc"],
    &["docker-proxy"],
    &["mount"],
    &["umount"],
    &["mkdir"],
    &["cp"],
];
const SHELL: [&str; 2] = ["dash", "sh"];
/// `docker-init` serves services that ask for an init; the next two are for hosts where overlayfs can't be stacked; the
/// others are what a machine of the local cloud and the scripts that boot it use.
const USEFUL: [&str; 47] = [
    "docker-init",
    "fuse-overlayfs",
    "mknod",
    "awk",
    "base64",
    "basename",
    "bash",
    "cat",
    "chmod",
    "chown",
    "curl",
    "cut",
    "date",
    "dirname",
    "docker",
    "env",
    "grep",
    "head",
    "hostname",
    "id",
    "ip",
    "ln",
    "ls",
    "mktemp",
    "mountpoint",
    "mv",
    "nsenter",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setsid",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tee",
    "timeout",
    "touch",
    "tr",
    "uname",
    "uniq",
    "wc",
    "xargs",
];
/// The two forms of iptables. Which one a kernel supports is found out by the entry script.
const IPTABLES: [(&str, &str); 2] = [("legacy", "xtables-legacy-multi"), ("nft", "xtables-nft-multi")];
const IPTABLES_NAMES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// A node image that the outer engine has.
#[derive(Debug, Clone)]
pub struct NodeImage {
    /// Repository without tag.
    pub(super) repository: &'static str,
    /// Tag, made of the content.
    pub(super) tag: String,
    /// How long it took to build it now; `None` if it was there.
    pub built_in: Option<Duration>,
}

impl NodeImage {
    /// Finds the image or builds it. `cache` is a folder for packages, used only if the host has no Docker programs.
    ///
    /// # Errors
    /// A program or library of a node is nowhere to be found, or the engine refuses the image.
    pub async fn ensure(engine: &Engine, cache: &Path) -> Result<Self> {
        let start = Instant::now();
        let recipe = match Recipe::from(Trees::host()) {
            Ok(recipe) => recipe,
            Err(missing) => {
                let tree = debs::fetch(cache).await.with_context(|| missing.to_string())?;
                Recipe::from(Trees::host().and(tree))?
            }
        };
        let tag = recipe.tag()?;
        let image = Self { repository: REPOSITORY, tag, built_in: None };
        if engine.docker().inspect_image(&image.name()).await.is_ok() {
            return Ok(image);
        }
        let name = image.tag.clone();
        let archive =
            tokio::task::spawn_blocking(move || recipe.build(&name)).await.context("build the node image")??;
        load_image(engine.docker(), &archive).await?;
        remove_older(engine.docker(), &image.name()).await;
        Ok(Self { built_in: Some(start.elapsed()), ..image })
    }

    /// `moonswarm/node:TAG`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// Loads an image into an engine.
///
/// # Errors
/// The engine refuses it.
pub(crate) async fn load_image(docker: &Docker, archive: &ImageArchive) -> Result<()> {
    let body = stream::iter(archive.pieces().into_iter().map(Ok::<_, std::io::Error>));
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let loaded = docker.import_image_stream(options, body, None).boxed().try_for_each(async |_| Ok(())).await;
    loaded.with_context(|| format!("load image `{}`", archive.tag()))
}

/// What goes into the image, before its libraries are looked up.
struct Recipe {
    trees: Trees,
    /// Path in the image → file on the host.
    programs: Vec<(String, PathBuf)>,
    /// Modules that iptables loads by name, so that no `ldd` knows of them.
    modules: Vec<PathBuf>,
}

impl Recipe {
    fn from(trees: Trees) -> Result<Self> {
        let stored = |name: &str, file: PathBuf| (format!("/usr/bin/{name}"), file);
        let mut programs = Vec::new();
        for names in NEEDED {
            let file = trees.program(names).with_context(|| format!("find the program `{}`", names[0]))?;
            programs.push(stored(names[0], file));
        }
        programs.push(stored("sh", trees.program(&SHELL).context("find a shell")?));
        programs.extend(USEFUL.iter().filter_map(|name| Some(stored(name, trees.program(&[name])?))));
        let iptables: Vec<_> =
            IPTABLES.iter().filter_map(|(_, multi)| Some(stored(multi, trees.program(&[multi])?))).collect();
        anyhow::ensure!(!iptables.is_empty(), "find the program `iptables` ({} or {})", IPTABLES[0].1, IPTABLES[1].1);
        programs.extend(iptables);
        let modules = trees.files(&library_folders().map(|folder| format!("{folder}/xtables")));
        Ok(Self { trees, programs, modules })
    }

    /// Content is told by size and time, which packages keep: reading 150 MB at each start would cost more than it tells.
    fn tag(&self) -> Result<String> {
        let mut words =
            vec![ENTRY_SCRIPT.to_owned(), format!("{MACHINE_SCRIPTS:?}"), format!("{IPTABLES:?}{IPTABLES_NAMES:?}")];
        let files = self.programs.iter().map(|(path, file)| (path.clone(), file));
        for (path, file) in files.chain(self.modules.iter().map(|file| (self.trees.place(file), file))) {
            let facts = fs_err::metadata(file)?;
            words.push(format!("{path} {} {}", facts.size(), facts.mtime()));
        }
        Ok(sha256(words.join("\n").as_bytes())[..16].to_owned())
    }

    fn build(&self, tag: &str) -> Result<ImageArchive> {
        let files = self.programs.iter().map(|(_, file)| file).chain(&self.modules).cloned().collect::<Vec<_>>();
        let libraries = self.trees.libraries(&files)?;

        let mut layer = Layer::new();
        for folder in [
            "/dev",
            "/etc",
            "/opt",
            "/proc",
            "/root",
            "/run",
            "/sys",
            "/tmp",
            "/usr/bin",
            "/usr/local/bin",
            "/var/lib",
            "/var/log",
            "/var/run",
        ] {
            layer.folder(folder, 0o755)?;
        }
        for (link, target) in [
            ("/bin", "usr/bin"),
            ("/sbin", "usr/bin"),
            ("/usr/sbin", "bin"),
            ("/lib", "usr/lib"),
            ("/lib64", "usr/lib64"),
        ] {
            layer.link(link, target)?;
        }
        layer.file("/etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
        layer.file("/etc/group", 0o644, b"root:x:0:\n")?;
        layer.file("/etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
        layer.file("/etc/os-release", 0o644, b"ID=moonswarm\nPRETTY_NAME=\"Moonswarm test node\"\n")?;
        layer.file(ENTRY, 0o755, ENTRY_SCRIPT.as_bytes())?;
        for (path, script) in MACHINE_SCRIPTS {
            layer.file(path, 0o755, script.as_bytes())?;
        }
        for (path, file) in &self.programs {
            layer.file(path, 0o755, &fs_err::read(file)?)?;
        }
        for (form, multi) in IPTABLES {
            for name in IPTABLES_NAMES {
                layer.link(&format!("/opt/iptables-{form}/{name}"), &format!("/usr/bin/{multi}"))?;
            }
        }
        for file in &self.modules {
            layer.file(&self.trees.place(file), 0o644, &fs_err::read(file)?)?;
        }
        for (path, file) in libraries {
            layer.file(&path, 0o755, &fs_err::read(file)?)?;
        }

        let start = Start {
            entrypoint: vec![ENTRY.to_owned()],
            environment: vec!["PATH=/usr/bin".to_owned()],
            labels: vec![("moonswarm.image".to_owned(), "node".to_owned())],
            ..Start::default()
        };
        Ok(ImageArchive::new(REPOSITORY, Some(tag), layer.finish()?, &start)?)
    }
}

/// Nobody needs an older node image, except a run that uses it right now: that one is refused by the engine, and stays.
async fn remove_older(docker: &Docker, current: &str) {
    let filters = HashMap::from([("reference".to_owned(), vec![REPOSITORY.to_owned()])]);
    let images = docker.list_images(Some(ListImagesOptionsBuilder::default().filters(&filters).build())).await;
    for tag in images.unwrap_or_default().into_iter().flat_map(|image| image.repo_tags) {
        if tag != current {
            let options = RemoveImageOptionsBuilder::default().build();
            if let Err(reason) = docker.remove_image(&tag, Some(options), None).await {
                tracing::debug!(%tag, %reason, "an older node image stays");
            }
        }
    }
}
