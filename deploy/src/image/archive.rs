//! Images as `docker load` archives, made in memory: a layer, a configuration, a manifest.
//!
//! The form is the one of `docker save` (<https://github.com/moby/docker-image-spec/blob/main/v1.2.md>, "Combined Image
//! JSON + Filesystem Changeset Format"). Times and owners are fixed, so the same content always gives the same image.

use std::io;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde_json::json;

/// Length of a tar record; everything in an archive is padded to it.
const RECORD: usize = 512;
/// Permissions of the archive's own parts, which nobody sees.
const PART_MODE: u32 = 0o644;

/// Files of an image, gathered as one tar.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Layer {
    /// Nothing yet.
    pub fn new() -> Self {
        let mut tar = tar::Builder::new(Vec::new());
        tar.mode(tar::HeaderMode::Deterministic);
        Self { tar }
    }

    /// Adds a folder; `path` is absolute in the image.
    ///
    /// # Errors
    /// The path can't stand in a tar.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.add(path, tar::EntryType::Directory, mode, &[])
    }

    /// Adds a file owned by root.
    ///
    /// # Errors
    /// The path can't stand in a tar.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.add(path, tar::EntryType::Regular, mode, content)
    }

    /// Adds a symbolic link to `target`.
    ///
    /// # Errors
    /// The path can't stand in a tar.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, inside(path), target)
    }

    fn add(&mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) -> io::Result<()> {
        let mut header = header(kind, mode, content.len());
        self.tar.append_data(&mut header, inside(path), content)
    }

    /// The tar.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(Bytes::from(self.tar.into_inner()?))
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_cksum();
    header
}

/// How a container of the image starts.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// `UID:GID`; empty is root.
    pub user: String,
    /// Labels of the image.
    pub labels: Vec<(String, String)>,
}

/// An image, ready to be loaded into any number of engines. Cloning shares the content.
#[derive(Debug, Clone)]
pub struct ImageArchive {
    tag: String,
    parts: Vec<Bytes>,
}

impl ImageArchive {
    /// An image `repository:TAG` of one layer; without `tag` the tag is made of the content, so that a changed program
    /// can't hide behind an old name.
    ///
    /// # Errors
    /// A name can't stand in a tar.
    pub fn new(repository: &str, tag: Option<&str>, layer: Bytes, start: &Start) -> io::Result<Self> {
        let layer_digest = sha256(&layer);
        let labels: serde_json::Map<_, _> = start.labels.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": start.entrypoint, "Env": start.environment, "User": start.user, "Labels": labels,
                "WorkingDir": "/",
            },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "moonswarm" }],
        });
        let config = serde_json::to_vec(&config)?;
        let config_digest = sha256(&config);
        let tag = format!("{repository}:{}", tag.unwrap_or(&config_digest[..16]));
        let manifest = serde_json::to_vec(&json!([{
            "Config": format!("{config_digest}.json"),
            "RepoTags": [tag],
            "Layers": [format!("{layer_digest}/layer.tar")],
        }]))?;

        let mut parts = Vec::new();
        add_part(&mut parts, &format!("{layer_digest}/layer.tar"), layer)?;
        add_part(&mut parts, &format!("{config_digest}.json"), Bytes::from(config))?;
        add_part(&mut parts, "manifest.json", Bytes::from(manifest))?;
        // Two empty records end an archive.
        parts.push(Bytes::from_static(&[0; 2 * RECORD]));
        Ok(Self { tag, parts })
    }

    /// `repository:tag`, as a service names it.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Size in bytes as it is sent.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// The archive, in pieces that share their content with this one.
    pub fn pieces(&self) -> Vec<Bytes> {
        self.parts.clone()
    }
}

/// One member of the outer tar: header, content, padding. The content is shared, not copied.
fn add_part(parts: &mut Vec<Bytes>, name: &str, content: Bytes) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, PART_MODE, content.len());
    header.set_path(name)?;
    header.set_cksum();
    parts.push(Bytes::copy_from_slice(header.as_bytes()));
    let padding = content.len().next_multiple_of(RECORD) - content.len();
    parts.push(content);
    parts.push(Bytes::from(vec![0; padding]));
    Ok(())
}

/// Digest in lower-case hexadecimal digits.
pub fn sha256(content: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, content).as_ref())
}

/// This machine's architecture in Docker's words.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn archive(content: &[u8]) -> ImageArchive {
        let mut layer = Layer::new();
        layer.folder("/tmp", 0o1777).unwrap();
        layer.file("/bin/program", 0o755, content).unwrap();
        layer.link("/bin/alias", "program").unwrap();
        let start = Start { entrypoint: vec!["/bin/program".into()], user: "65532:65532".into(), ..Start::default() };
        ImageArchive::new("localhost/example", None, layer.finish().unwrap(), &start).unwrap()
    }

    fn members(tar: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        tar::Archive::new(tar)
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (entry.path().unwrap().display().to_string(), (entry.header().mode().unwrap(), content))
            })
            .collect()
    }

    #[test]
    fn an_archive_names_its_parts_by_their_digests() {
        let archive = archive(b"one");

        let outer = members(&archive.parts.concat());

        let manifest: serde_json::Value = serde_json::from_slice(&outer["manifest.json"].1).unwrap();
        let layer_name = manifest[0]["Layers"][0].as_str().unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(layer_name, format!("{}/layer.tar", sha256(&outer[layer_name].1)));
        assert_eq!(config_name, format!("{}.json", sha256(&outer[config_name].1)));
        assert_eq!(manifest[0]["RepoTags"][0], archive.tag());
        let config: serde_json::Value = serde_json::from_slice(&outer[config_name].1).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&outer[layer_name].1)));
        assert_eq!(config["config"]["User"], "65532:65532");
        let inner = members(&outer[layer_name].1);
        assert_eq!(inner["tmp"].0, 0o1777);
        assert_eq!(inner["bin/program"], (0o755, b"one".to_vec()));
    }

    #[test]
    fn the_same_content_has_the_same_tag_and_other_content_another() {
        assert_eq!(archive(b"one").tag(), archive(b"one").tag());
        assert_ne!(archive(b"one").tag(), archive(b"two").tag());
    }
}
