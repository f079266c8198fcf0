//! Whom a child runs as. Read from `/etc/passwd` and `/etc/group` themselves: a static program has no name services.

use std::io;

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NoUser {
    #[error("user `{0}` is not in /etc/passwd: use a name from there or a number")]
    User(String),
    #[error("group `{0}` is not in /etc/group: use a name from there or a number")]
    Group(String),
}

impl User {
    /// Finds `name`, `uid`, `name:group` or `uid:gid`. A bare number that `/etc/passwd` does not have is its own group.
    pub(crate) fn find(wanted: &str) -> Result<Self, NoUser> {
        // In an empty image there is neither file, and numbers work all the same.
        let text = |path| std::fs::File::open(path).and_then(io::read_to_string).unwrap_or_default();
        Self::find_in(wanted, &text("/etc/passwd"), &text("/etc/group"))
    }

    fn find_in(wanted: &str, passwd: &str, groups: &str) -> Result<Self, NoUser> {
        let (name, group) = wanted.split_once(':').map_or((wanted, None), |(name, group)| (name, Some(group)));
        let number: Option<u32> = name.parse().ok();
        let known = entries(passwd).find_map(|fields| {
            let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            (fields[0] == name || number == Some(uid)).then_some(Self { uid, gid })
        });
        let user =
            known.or_else(|| number.map(|uid| Self { uid, gid: uid })).ok_or_else(|| NoUser::User(name.to_owned()))?;
        let Some(group) = group else { return Ok(user) };
        let named = entries(groups).find(|fields| fields[0] == group).and_then(|fields| fields.get(2)?.parse().ok());
        let gid = group.parse().ok().or(named).ok_or_else(|| NoUser::Group(group.to_owned()))?;
        Ok(Self { gid, ..user })
    }
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/:/bin/false\n";
    const GROUP: &str = "root:x:0:\nlogs:x:55:web\n";

    fn find(wanted: &str) -> Result<User, NoUser> {
        User::find_in(wanted, PASSWD, GROUP)
    }

    #[test]
    fn users_are_found_by_name_and_by_number() {
        assert_eq!(find("web"), Ok(User { uid: 33, gid: 44 }));
        assert_eq!(find("33"), Ok(User { uid: 33, gid: 44 }));
        assert_eq!(find("65532"), Ok(User { uid: 65532, gid: 65532 }));
        assert_eq!(find("web:logs"), Ok(User { uid: 33, gid: 55 }));
        assert_eq!(find("1000:2000"), Ok(User { uid: 1000, gid: 2000 }));
    }

    #[test]
    fn who_is_not_there_is_named() {
        assert_eq!(
            find("nobody").unwrap_err().to_string(),
            "user `nobody` is not in /etc/passwd: use a name from there or a number"
        );
        assert_eq!(
            find("web:x").unwrap_err().to_string(),
            "group `x` is not in /etc/group: use a name from there or a number"
        );
    }
}
