//! A script of several files: a zip or tar file, unpacked in memory.
//!
//! Files that end in `.luau` or `.lua` are modules. All others are passed over unread, and so are type declarations
//! (`.d.luau`) and what hides behind a dot: an author's folder holds a README, test data, what editors leave. Sizes are
//! checked while unpacking, so that a bomb costs no more than an honest file.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use contract::ids::Form;

use crate::compile::Refusal;
use crate::limits::{Bytes, Limits};

/// Modules of one package.
const MODULES_MAX: usize = 256;

/// Entries of any kind of one package: folders and files that are passed over cost time, too.
const ENTRIES_MAX: usize = 2048;

/// Bytes of a module's path. Luau cuts names of chunks above 255 bytes off in its messages.
const PATH_BYTES_MAX: usize = 200;

/// Files that a package begins with, the first that is there.
const ENTRIES: [&str; 4] = ["init.luau", "init.lua", "main.luau", "main.lua"];

/// Sources by path, and the one that the script begins with.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) modules: BTreeMap<String, Vec<u8>>,
    pub(crate) entry: String,
}

/// Unpacks `bytes`, which are of this form; `file` names them in refusals. A text is the one module of its package.
///
/// # Errors
/// [`Refusal`]: `TooLarge`, or `ScriptRefused` for all that [`crate::compile()`] names.
pub(crate) fn unpack(file: &str, form: Form, bytes: &[u8], limits: &Limits) -> Result<Package, Refusal> {
    let mut unpacked = Unpacked { file, limits, modules: BTreeMap::new(), bytes: 0, entries: 0 };
    match form {
        Form::Luau => {
            unpacked.modules.insert(file.to_owned(), bytes.to_vec());
            return Ok(Package { modules: unpacked.modules, entry: file.to_owned() });
        }
        _ if bytes.len() > limits.stored_bytes() => {
            let most = Bytes(limits.stored_bytes());
            let sentence = format!("`{file}` has {} bytes, the limit for a package is {most}", bytes.len());
            return Err(Refusal::too_large(sentence));
        }
        Form::Zip => unpacked.zip(bytes)?,
        Form::Tar => unpacked.tar(bytes)?,
    }
    let modules = without_top_folder(unpacked.modules);
    let Some(entry) = ENTRIES.into_iter().find(|entry| modules.contains_key(*entry)) else {
        let sentence = format!("`{file}` has no `init.luau` or `main.luau` at its root; {}", listed(&modules));
        return Err(Refusal::script(sentence));
    };
    for path in modules.keys() {
        let twins = candidates(stem(path)).into_iter().filter(|twin| twin != path);
        if let Some(twin) = twins.into_iter().find(|twin| modules.contains_key(twin)) {
            let name = stem(path);
            return Err(Refusal::script(format!(
                "`{file}` has both `{path}` and `{twin}`: `require` could not tell which is meant by `{name}`; rename one"
            )));
        }
    }
    Ok(Package { modules, entry: entry.to_owned() })
}

/// Files that `require` may mean by a path without its ending, all of which must not exist but one.
pub(crate) fn candidates(path: &str) -> [String; 4] {
    ["", "/init"]
        .map(|tail| [".luau", ".lua"].map(|ending| format!("{path}{tail}{ending}")))
        .concat()
        .try_into()
        .expect("two times two are four")
}

/// A module's path without its ending.
fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

/// The modules there are, for a refusal.
fn listed(modules: &BTreeMap<String, Vec<u8>>) -> String {
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = modules.keys().take(SHOWN_MAX).map(|path| format!("`{path}`")).collect();
    match modules.len() {
        0 => "it has no `.luau` file at all".to_owned(),
        count if count > SHOWN_MAX => format!("it has {} and {} more", shown.join(", "), count - SHOWN_MAX),
        _ => format!("it has {}", shown.join(", ")),
    }
}

/// Programs that pack a folder put the folder itself around: taken off if all lies within and nothing begins outside.
fn without_top_folder(modules: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let top = modules.keys().next().and_then(|path| path.split_once('/')).map(|(top, _)| format!("{top}/"));
    match top {
        Some(top) if modules.keys().all(|path| path.starts_with(&top)) => {
            modules.into_iter().map(|(path, source)| (path[top.len()..].to_owned(), source)).collect()
        }
        _ => modules,
    }
}

struct Unpacked<'a> {
    file: &'a str,
    limits: &'a Limits,
    modules: BTreeMap<String, Vec<u8>>,
    bytes: usize,
    entries: usize,
}

impl Unpacked<'_> {
    fn zip(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let file = self.file;
        let broken = |err: zip::result::ZipError| Refusal::script(format!("`{file}` is no usable zip file: {err}"));
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        for index in 0..archive.len() {
            // Raw, so that a method this program does not know hurts only where the content is needed.
            let (name, is_file, is_link) = {
                let entry = archive.by_index_raw(index).map_err(broken)?;
                (entry.name_raw().to_vec(), entry.is_file(), entry.is_symlink())
            };
            if let Some(path) = self.path(&name, is_file, is_link)? {
                let entry = archive.by_index(index).map_err(|err| {
                    Refusal::script(format!(
                        "`{file}`: `{path}` can't be unpacked: {err}; pack with deflate, without a password"
                    ))
                })?;
                self.take(path, entry)?;
            }
        }
        Ok(())
    }

    fn tar(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        use tar::EntryType;

        let file = self.file;
        let broken = |err: std::io::Error| Refusal::script(format!("`{file}` is no usable tar file: {err}"));
        let mut archive = tar::Archive::new(bytes);
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            let (is_file, is_link) = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => (true, false),
                EntryType::Directory | EntryType::XGlobalHeader => (false, false),
                // Devices and sparse files are as little modules as links are.
                _ => (false, true),
            };
            let name = entry.path_bytes().into_owned();
            if let Some(path) = self.path(&name, is_file, is_link)? {
                self.take(path, entry)?;
            }
        }
        Ok(())
    }

    /// The normal form of an entry's path, if the entry is a module.
    fn path(&mut self, name: &[u8], is_file: bool, is_link: bool) -> Result<Option<String>, Refusal> {
        let file = self.file;
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(Refusal::too_large(format!("`{file}` has more than {ENTRIES_MAX} entries")));
        }
        let shown = String::from_utf8_lossy(name).escape_debug().to_string();
        let refused = |why: &str| Err(Refusal::script(format!("`{file}`: the path `{shown}` {why}")));
        if is_link {
            return refused("is a link or another special file; a package holds plain files");
        }
        let mut parts: Vec<&[u8]> = name.split(|&byte| byte == b'/').collect();
        if name.starts_with(b"/") || parts.contains(&&b".."[..]) || name.contains(&b'\\') {
            return refused("leads out of the package, or is not written with `/`");
        }
        parts.retain(|part| !part.is_empty() && *part != b".");
        let path = parts.join(&b'/');
        let is_module = (path.ends_with(b".luau") || path.ends_with(b".lua")) && !path.ends_with(b".d.luau");
        let is_hidden = parts.iter().any(|part| part.starts_with(b".") || *part == b"__MACOSX");
        if !is_file || !is_module || is_hidden {
            return Ok(None);
        }
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/".contains(byte);
        if path.len() > PATH_BYTES_MAX {
            return refused(&format!("has more than {PATH_BYTES_MAX} bytes"));
        }
        match String::from_utf8(path) {
            Ok(path) if path.bytes().all(|byte| is_plain(&byte)) => Ok(Some(path)),
            _ => refused("has other characters than letters, digits, `.`, `_`, `-` and `/`"),
        }
    }

    fn take(&mut self, path: String, content: impl Read) -> Result<(), Refusal> {
        let (file, limits) = (self.file, self.limits);
        let most = limits.source_bytes.min(limits.package_bytes - self.bytes);
        let mut source = Vec::new();
        content
            .take(most as u64 + 1)
            .read_to_end(&mut source)
            .map_err(|err| Refusal::script(format!("`{file}`: `{path}` can't be unpacked: {err}")))?;
        if source.len() > limits.source_bytes {
            let most = Bytes(limits.source_bytes);
            return Err(Refusal::too_large(format!("`{file}`: `{path}` has more than {most}, the limit for one file")));
        }
        if source.len() > most {
            let most = Bytes(limits.package_bytes);
            return Err(Refusal::too_large(format!("`{file}` has more than {most} of modules, unpacked")));
        }
        self.bytes += source.len();
        if self.modules.len() == MODULES_MAX {
            return Err(Refusal::too_large(format!("`{file}` has more than {MODULES_MAX} modules")));
        }
        if self.modules.contains_key(&path) {
            return Err(Refusal::script(format!("`{file}` has `{path}` twice")));
        }
        self.modules.insert(path, source);
        Ok(())
    }
}
