//! Files, folders and mounts, for what is prepared before a process starts. Small and at once: nothing here waits.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mlua::{Error, FromLuaMulti, IntoLuaMulti, Lua, LuaString, Result, Table};
use nix::mount::{MsFlags, mount, umount};

use super::told;
use crate::script::message;
use crate::user::User;

/// A file that is larger than this is none that a script should hold.
const READ_MAX: u64 = 16 * 1024 * 1024;

/// A path, or any other bytes of the system's.
struct Place(PathBuf);

impl mlua::FromLua for Place {
    fn from_lua(value: mlua::Value, lua: &Lua) -> Result<Self> {
        let text = LuaString::from_lua(value, lua)?;
        Ok(Self(OsStr::from_bytes(&text.as_bytes()).into()))
    }
}

pub(super) fn add(lua: &Lua, native: &Table) -> Result<()> {
    let files = Files { lua, table: lua.create_table()? };
    files.add("read", |lua, place: Place| lua.create_string(named("read", &place.0, read(&place.0))?))?;
    files.add("write", |_, (place, text, mode): (Place, LuaString, Option<u32>)| {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode.unwrap_or(0o644));
        named("write", &place.0, options.open(&place.0).and_then(|mut file| file.write_all(&text.as_bytes())))
    })?;
    files.add("append", |_, (place, text): (Place, LuaString)| {
        let file = fs::OpenOptions::new().append(true).create(true).open(&place.0);
        named("write", &place.0, file.and_then(|mut file| file.write_all(&text.as_bytes())))
    })?;
    files.add("kind", |_, place: Place| {
        let kind = match fs::metadata(&place.0) {
            Ok(facts) if facts.is_dir() => Some("folder"),
            Ok(facts) if facts.is_file() => Some("file"),
            Ok(_) => Some("other"),
            Err(_) => None,
        };
        Ok(kind)
    })?;
    files.add("list", |lua, place: Place| {
        let names = named("list", &place.0, list(&place.0))?;
        names.into_iter().map(|name| lua.create_string(name.as_bytes())).collect::<Result<Vec<_>>>()
    })?;
    files.add("mkdir", |_, place: Place| {
        named("make the folder", &place.0, fs::DirBuilder::new().recursive(true).create(&place.0))
    })?;
    files.add("remove", |_, place: Place| {
        let is_folder = fs::symlink_metadata(&place.0).is_ok_and(|facts| facts.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&place.0) } else { fs::remove_file(&place.0) };
        named("remove", &place.0, removed)
    })?;
    files.add("rename", |_, (from, to): (Place, Place)| named("rename", &from.0, fs::rename(&from.0, &to.0)))?;
    files.add("copy", |_, (from, to): (Place, Place)| named("copy", &from.0, fs::copy(&from.0, &to.0)))?;
    files.add("symlink", |_, (target, link): (Place, Place)| named("link", &link.0, symlink(&target.0, &link.0)))?;
    files.add("chmod", |_, (place, mode): (Place, u32)| {
        named("change the mode of", &place.0, fs::set_permissions(&place.0, fs::Permissions::from_mode(mode)))
    })?;
    files.add("chown", |_, (place, user): (Place, String)| {
        let user = User::find(&user).map_err(Error::external)?;
        named("change the owner of", &place.0, std::os::unix::fs::chown(&place.0, Some(user.uid), Some(user.gid)))
    })?;
    files.add("mount", |_, (source, target, kind, options): (Place, Place, Option<String>, Option<String>)| {
        let (flags, data) = mount_options(options.as_deref().unwrap_or_default());
        let mounted = mount(Some(&source.0), &target.0, kind.as_deref(), flags, data.as_deref());
        named("mount on", &target.0, mounted.map_err(io::Error::from))
    })?;
    files.add("unmount", |_, target: Place| named("unmount", &target.0, umount(&target.0).map_err(io::Error::from)))?;
    native.set("files", files.table)
}

/// Adds functions that tell their errors.
struct Files<'a> {
    lua: &'a Lua,
    table: Table,
}

impl Files<'_> {
    fn add<A, R, F>(&self, name: &str, function: F) -> Result<()>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti,
        F: Fn(&Lua, A) -> Result<R> + 'static,
    {
        let function = move |lua: &Lua, arguments: A| told(lua, function(lua, arguments).map_err(|err| message(&err)));
        self.table.set(name, self.lua.create_function(function)?)
    }
}

fn named<T>(what: &str, place: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|err| Error::runtime(format!("{what} `{}`: {err}", place.display())))
}

fn read(place: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(place)?.take(READ_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > READ_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {READ_MAX} bytes")));
    }
    Ok(bytes)
}

fn list(place: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(place)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Options as in fstab: those that the kernel has a flag for, and the rest for the file system.
fn mount_options(options: &str) -> (MsFlags, Option<String>) {
    let (mut flags, mut data) = (MsFlags::empty(), Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "rw" => flags -= MsFlags::MS_RDONLY,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "remount" => flags |= MsFlags::MS_REMOUNT,
            "bind" => flags |= MsFlags::MS_BIND,
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "private" => flags |= MsFlags::MS_PRIVATE,
            "rprivate" => flags |= MsFlags::MS_PRIVATE | MsFlags::MS_REC,
            "shared" => flags |= MsFlags::MS_SHARED,
            "rshared" => flags |= MsFlags::MS_SHARED | MsFlags::MS_REC,
            other => data.push(other),
        }
    }
    (flags, (!data.is_empty()).then(|| data.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_options_are_flags_or_the_file_system_s_own() {
        assert_eq!(mount_options(""), (MsFlags::empty(), None));
        assert_eq!(mount_options("remount,bind,rw"), (MsFlags::MS_REMOUNT | MsFlags::MS_BIND, None));
        assert_eq!(mount_options("nosuid,mode=755,size=1m"), (MsFlags::MS_NOSUID, Some("mode=755,size=1m".to_owned())));
    }

    #[test]
    fn an_error_names_the_file() {
        let err = named("read", Path::new("/no/such"), read(Path::new("/no/such"))).unwrap_err();
        assert_eq!(message(&err), "read `/no/such`: No such file or directory (os error 2)");
    }
}
