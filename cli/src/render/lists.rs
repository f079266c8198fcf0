//! Scripts and their versions, as tables.

use contract::api::{ScriptInfo, ScriptList, VersionList};
use jiff::Timestamp;

use super::style::{WARN, clean, paint};
use super::table::Table;
use super::units::{count, size, when};

/// The scripts that run, then those that do not and why.
pub(crate) fn scripts(list: &ScriptList, now: Timestamp) -> String {
    let mut table = Table::new(["TENANT", "SCRIPT", "VERSION", "GENERATION", "SIZE", "PUSHED", "BY"]);
    let mut running = 0;
    let mut tenants: Vec<_> = Vec::new();
    for info in &list.scripts {
        let Some(entry) = &info.running else { continue };
        running += 1;
        if tenants.last() != Some(&&info.tenant) {
            tenants.push(&info.tenant);
        }
        table.row([
            info.tenant.to_string(),
            info.script.to_string(),
            entry.version.short().to_owned(),
            entry.generation.to_string(),
            size(entry.size.into()),
            when(entry.pushed_at_ms, now),
            entry.pushed_by.clone(),
        ]);
    }
    let mut text = match running {
        0 => format!("no script runs in release {}\n", list.release),
        _ => format!(
            "{}\n{} of {} in release {}\n",
            table.render(),
            count(running, "script"),
            count(tenants.len(), "tenant"),
            list.release
        ),
    };
    let refused = refused(&list.scripts);
    if !refused.is_empty() {
        text += &format!("\n{refused}");
    }
    text
}

/// Scripts whose newest content does not run, each with the reason; empty if there are none.
pub(crate) fn refused(scripts: &[ScriptInfo]) -> String {
    let mut text = String::new();
    for info in scripts {
        let Some(refused) = &info.refused else { continue };
        let runs = match &info.running {
            Some(entry) => format!("version {} still runs", entry.version.short()),
            None => "nothing runs in its place".to_owned(),
        };
        text += &format!(
            "{} {}/{}: generation {} is refused ({}): {}; {runs}\n",
            paint(WARN, "not running"),
            info.tenant,
            info.script,
            refused.generation,
            refused.code,
            clean(&refused.detail),
        );
        for diagnostic in &refused.diagnostics {
            text += &super::snippet::render(diagnostic, None, refused.detail.ends_with(&diagnostic.message));
        }
    }
    text
}

/// The kept versions of one script; `*` marks the one that runs.
pub(crate) fn versions(list: &VersionList, now: Timestamp) -> String {
    if list.versions.is_empty() {
        return format!("no version of {}/{} is kept\n", list.tenant, list.script);
    }
    let mut table = Table::new(["", "VERSION", "GENERATION", "SIZE", "PUSHED", "BY"]);
    for info in &list.versions {
        table.row([
            if info.running { "*" } else { "" }.to_owned(),
            info.version.as_ref().map_or("(not read)", |version| version.short()).to_owned(),
            info.generation.to_string(),
            size(info.size.into()),
            when(info.pushed_at_ms, now),
            info.pushed_by.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
pub(crate) mod tests {
    use contract::api::{Refused, VersionInfo};
    use contract::release::Entry;
    use contract::{Code, Diagnostic, Version};

    use super::super::style::plain;
    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T23:19:00Z".parse().unwrap()
    }

    fn entry(source: &str) -> Entry {
        Entry {
            version: Version::of(source.as_bytes()),
            generation: 1_718_000_000_000_001,
            object: "tenants/acme/scripts/risk.luau".into(),
            size: 1234,
            pushed_at_ms: now().as_millisecond() - 180_000,
            pushed_by: "ada".into(),
        }
    }

    /// A script that runs an older content than the bucket's newest, which the gate refused.
    pub(crate) fn refused_script() -> ScriptInfo {
        let diagnostic =
            Diagnostic { file: "risk.luau".into(), line: 3, column: None, message: "Expected 'end'".into() };
        ScriptInfo {
            tenant: "acme".parse().unwrap(),
            script: "risk".parse().unwrap(),
            running: Some(entry("abc")),
            refused: Some(Refused {
                generation: 1_718_000_000_000_009,
                code: Code::ScriptRefused,
                detail: "`risk.luau` has a syntax error".into(),
                diagnostics: vec![diagnostic],
            }),
            source: None,
        }
    }

    #[test]
    fn scripts_are_listed_with_those_that_do_not_run() {
        let running = |tenant: &str, script: &str| ScriptInfo {
            tenant: tenant.parse().unwrap(),
            script: script.parse().unwrap(),
            running: Some(entry(script)),
            refused: None,
            source: None,
        };
        let list = ScriptList {
            release: 417,
            scripts: vec![running("acme", "pricing"), refused_script(), running("globex", "latest")],
        };

        insta::assert_snapshot!(plain(&scripts(&list, now())), @"
        TENANT  SCRIPT   VERSION       GENERATION        SIZE     PUSHED                            BY
        acme    pricing  1e2ea6d9b72e  1718000000000001  1.2 KiB  2026-11-21T23:16:00Z (3 min ago)  ada
        acme    risk     ba7816bf8f01  1718000000000001  1.2 KiB  2026-11-21T23:16:00Z (3 min ago)  ada
        globex  latest   5e1e2bcac305  1718000000000001  1.2 KiB  2026-11-21T23:16:00Z (3 min ago)  ada

        3 scripts of 2 tenants in release 417

        not running acme/risk: generation 1718000000000009 is refused (script_refused): `risk.luau` has a syntax error; version ba7816bf8f01 still runs
          --> risk.luau:3: Expected 'end'
        ");
    }

    #[test]
    fn an_empty_stack_says_that_nothing_runs() {
        let list = ScriptList { release: 0, scripts: Vec::new() };

        insta::assert_snapshot!(plain(&scripts(&list, now())), @"no script runs in release 0");
    }

    #[test]
    fn versions_mark_the_one_that_runs() {
        let version = |text: Option<&str>, generation, running| VersionInfo {
            version: text.map(|text| Version::of(text.as_bytes())),
            generation,
            size: 900,
            pushed_at_ms: now().as_millisecond() - 86_400_000,
            pushed_by: "ada\u{1b}[2J".into(),
            running,
        };
        let list = VersionList {
            tenant: "acme".parse().unwrap(),
            script: "risk".parse().unwrap(),
            versions: vec![version(Some("b"), 9, false), version(Some("a"), 8, true), version(None, 7, false)],
        };

        insta::assert_snapshot!(plain(&versions(&list, now())), @r"
           VERSION       GENERATION  SIZE   PUSHED                          BY
           3e23e8160039  9           900 B  2026-11-20T23:19:00Z (1 d ago)  ada\u{1b}[2J
        *  ca978112ca1b  8           900 B  2026-11-20T23:19:00Z (1 d ago)  ada\u{1b}[2J
           (not read)    7           900 B  2026-11-20T23:19:00Z (1 d ago)  ada\u{1b}[2J
        ");
    }
}
