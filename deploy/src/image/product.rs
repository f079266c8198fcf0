//! Images of the product: one static program on nothing (`FROM scratch`), as production would run it.

use std::io;
use std::path::Path;

use super::archive::{ImageArchive, Layer, Start, sha256};
use super::error::ImageError;

/// Whom the program runs as: the number that distroless images use for "nonroot".
pub(crate) const USER: u32 = 65532;
/// Label of an image: digest of its program.
const LABEL_PROGRAM: &str = "moonswarm.program.digest";
/// Label of an image: the commit it was made of.
const LABEL_REVISION: &str = "org.opencontainers.image.revision";
/// Where the image has its certificates, and where most TLS libraries look.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where hosts keep theirs: Debian, Fedora, Alpine.
const HOST_CERTIFICATES: [&str; 3] = [CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Makes the image `localhost/NAME:CONTENT` of a static program: the program at `/bin/NAME`, users, an empty `/tmp`,
/// `/config`, `/cache`, and the host's CA certificates if it has any.
///
/// The repository is `localhost/…` because a Swarm node asks the registry even for images it has: that way it is refused
/// by its own port 443 at once, instead of after a name lookup that may hang on a machine without a network.
///
/// # Errors
/// The program can't be read, or it needs shared libraries, which the image would not have.
pub fn product_image(name: &str, program: &Path, revision: &str) -> Result<ImageArchive, ImageError> {
    let content = fs_err::read(program).map_err(ImageError::Io)?;
    if needs_interpreter(&content) {
        return Err(ImageError::Dynamic(program.to_owned()));
    }
    layered(name, &content, revision).map_err(ImageError::Io)
}

fn layered(name: &str, content: &[u8], revision: &str) -> io::Result<ImageArchive> {
    let mut layer = Layer::new();
    // A tmpfs mounted over a folder takes over its permissions (runc), so `/cache` is open as `/tmp` is.
    for (folder, mode) in
        [("/bin", 0o755), ("/cache", 0o1777), ("/config", 0o755), ("/etc", 0o755), ("/run", 0o755), ("/tmp", 0o1777)]
    {
        layer.folder(folder, mode)?;
    }
    let passwd = format!("root:x:0:0:root:/:/none\nnonroot:x:{USER}:{USER}:nonroot:/tmp:/none\n");
    layer.file("/etc/passwd", 0o644, passwd.as_bytes())?;
    layer.file("/etc/group", 0o644, format!("root:x:0:\nnonroot:x:{USER}:\n").as_bytes())?;
    if let Some(certificates) = HOST_CERTIFICATES.iter().find_map(|path| fs_err::read(path).ok()) {
        layer.file(CERTIFICATES, 0o644, &certificates)?;
    }
    layer.file(&format!("/bin/{name}"), 0o755, content)?;

    let start = Start {
        entrypoint: vec![format!("/bin/{name}")],
        environment: vec![format!("SSL_CERT_FILE={CERTIFICATES}")],
        user: format!("{USER}:{USER}"),
        labels: vec![
            (LABEL_REVISION.into(), revision.into()),
            (LABEL_PROGRAM.into(), format!("sha256:{}", sha256(content))),
        ],
    };
    ImageArchive::new(&format!("localhost/{name}"), None, layer.finish()?, &start)
}

/// Whether an ELF program asks for a dynamic linker: it has a program header of type `PT_INTERP` (`man 5 elf`).
/// Anything that is no 64-bit little-endian ELF file counts as asking.
fn needs_interpreter(program: &[u8]) -> bool {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let field = program.get(at..at.checked_add(bytes)?)?;
        Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return true;
    }
    let headers = || {
        let start = usize::try_from(number(32, 8)?).ok()?;
        let size = usize::try_from(number(54, 2)?).ok()?;
        let count = usize::try_from(number(56, 2)?).ok()?;
        (0..count).map(|index| number(start.checked_add(index * size)?, 4)).collect::<Option<Vec<_>>>()
    };
    headers().is_none_or(|kinds| kinds.contains(&PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest file that says it is an ELF program with one program header of this kind.
    fn elf(kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = kind;
        elf
    }

    #[test]
    fn a_dynamic_program_is_refused_with_the_way_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::write(&program, elf(3)).unwrap();

        let error = product_image("program", &program, "r1").unwrap_err();

        let words = error.to_string().replace(&folder.path().display().to_string(), "[folder]");
        insta::assert_snapshot!(words, @"`[folder]/program` is linked dynamically and can't start in an empty image: build it with `-C target-feature=+crt-static`");
    }

    #[test]
    fn a_static_program_becomes_an_image_named_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs_err::write(&program, elf(1)).unwrap();

        let image = product_image("program", &program, "r1").unwrap();

        assert!(image.tag().starts_with("localhost/program:"), "{}", image.tag());
        assert_eq!(image.tag(), product_image("program", &program, "r1").unwrap().tag());
    }

    #[test]
    fn whatever_is_no_program_is_refused() {
        for text in [&b"#!/bin/sh\n"[..], b"", b"\x7fELF\x02\x01", &elf(1)[..66]] {
            assert!(needs_interpreter(text), "{text:?}");
        }
    }
}
