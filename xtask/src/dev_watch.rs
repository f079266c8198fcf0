//! `--watch DIR`: pushes the scripts of a folder, and each again when it changes. A sub-folder with `init.luau` or
//! `main.luau` is a script as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use contract::TenantName;
use contract::ids::Form;
use notify::{Event, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors write a file in several steps (truncate, write, rename): changes within this time are one.
const SETTLE: Duration = Duration::from_millis(30);

/// Changed files that wait to be pushed; more than a folder of rules ever changes at once.
const CHANGES_MAX: usize = 1024;

/// Pushes what is there, then what changes, until the task is aborted. What goes wrong is told and does not end it.
pub(crate) async fn watch(folder: PathBuf, tenant: TenantName, moonswarm: PathBuf, manager: String) {
    if let Err(err) = follow(&folder, &tenant, &moonswarm, &manager).await {
        eprintln!("error: no longer watching `{}`: {err:#}", folder.display());
    }
}

async fn follow(folder: &Path, tenant: &TenantName, moonswarm: &Path, manager: &str) -> Result<()> {
    let (tell, mut changes) = mpsc::channel(CHANGES_MAX);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        for path in event.into_iter().filter(|event| !event.kind.is_access()).flat_map(|event| event.paths) {
            // A full queue holds the same file already, or so many others that the next save comes before they are done.
            let _ = tell.try_send(path);
        }
    })?;
    watcher.watch(folder, RecursiveMode::Recursive).with_context(|| format!("watch `{}`", folder.display()))?;

    let present = fs_err::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    push_all(present.filter_map(|path| script_of(folder, &path)).collect(), tenant, moonswarm, manager).await;
    while let Some(first) = changes.recv().await {
        let mut changed = BTreeSet::from([first]);
        while let Ok(Some(path)) = tokio::time::timeout(SETTLE, changes.recv()).await {
            changed.insert(path);
        }
        let scripts = changed.iter().filter_map(|path| script_of(folder, path)).collect();
        push_all(scripts, tenant, moonswarm, manager).await;
    }
    Ok(())
}

/// Pushes through the authors' program, so that the desk's checks and words are the same as theirs.
async fn push_all(files: BTreeSet<PathBuf>, tenant: &TenantName, moonswarm: &Path, manager: &str) {
    for file in files {
        let mut push = tokio::process::Command::new(moonswarm);
        push.arg("push").arg(&file).args(["--tenant", tenant.as_str(), "--manager", manager, "--wait"]);
        if let Err(err) = push.status().await {
            eprintln!("error: push `{}`: {err}", file.display());
        }
    }
}

/// The script in `folder` that `path` is or belongs to.
fn script_of(folder: &Path, path: &Path) -> Option<PathBuf> {
    let top = folder.join(path.strip_prefix(folder).ok()?.components().next()?);
    let begins = |name: &str| ["luau", "lua"].iter().any(|ending| top.join(format!("{name}.{ending}")).is_file());
    let is_file = top.is_file() && top.to_str().is_some_and(|name| Form::named(name).is_some());
    (is_file || begins("init") || begins("main")).then_some(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_within_a_package_is_a_change_of_the_package() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["risk.luau", "notes.txt", "basket/init.luau", "basket/rules/vip.luau", "basket.zip", "data/a.luau"]
        {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        }
        let script = |path: &str| {
            let script = script_of(folder.path(), &folder.path().join(path))?;
            Some(script.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned())
        };

        assert_eq!(script("risk.luau").as_deref(), Some("risk.luau"));
        assert_eq!(script("basket.zip").as_deref(), Some("basket.zip"));
        for path in ["basket", "basket/init.luau", "basket/rules/vip.luau", "basket/rules/gone.luau"] {
            assert_eq!(script(path).as_deref(), Some("basket"), "{path}");
        }
        for path in ["notes.txt", "data/a.luau", "gone.luau"] {
            assert_eq!(script(path), None, "{path}");
        }
    }
}
