//! The command line: `moonswarm-init [script [args...]]`.
//!
//! Read by hand, not with clap: whatever follows the script is the script's own, also what looks like a flag, and the
//! library would be a third of the program.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing, or `--help`: tell how to use the program.
    Usage,
    /// `--version`.
    Version,
    /// Run a script.
    Run(Invocation),
}

/// A script and the words around it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) script: Script,
    /// Everything on the command line, the program first.
    pub(crate) words: Vec<OsString>,
    /// Where among `words` the script is.
    pub(crate) position: usize,
}

/// Where the script comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// A file, by a name that ends in `.lua` or `.luau`.
    File(PathBuf),
    /// The code itself.
    Code(OsString),
}

/// The first word that ends in `.lua` or `.luau` is the script, wherever it stands; without one, the first argument is
/// the code.
pub(crate) fn parse(words: Vec<OsString>) -> Asked {
    let named = |word: &OsString| [".lua", ".luau"].iter().any(|end| word.as_bytes().ends_with(end.as_bytes()));
    if let Some(position) = words.iter().position(named) {
        let script = Script::File(PathBuf::from(&words[position]));
        return Asked::Run(Invocation { script, words, position });
    }
    match words.get(1).map(|word| word.as_bytes()) {
        None | Some(b"-h" | b"--help") => Asked::Usage,
        Some(b"-V" | b"--version") => Asked::Version,
        Some(_) => {
            let script = Script::Code(words[1].clone());
            Asked::Run(Invocation { script, words, position: 1 })
        }
    }
}

/// What `--help` says, and no arguments at all.
pub(crate) fn usage(program: &str) -> String {
    format!(
        "Usage: {program} [script [args...]]

Starts, watches, schedules and stops processes as a Luau script says. As the first process of a container it reaps
every zombie, hands signals on, and gives every process time to end.

  script   a file whose name ends in .lua or .luau, or the code itself
  args     in the script: the table `arg`

Examples:
  {program} /etc/init.luau
  {program} 'return require(\"init\").exec(\"/bin/server\", \"--port\", \"80\")'

Exit codes: what the script returns or its main process ended with (128 + number for a signal), 0 without either,
1 when the script failed, 128 + number of the signal that stopped it.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Asked {
        parse(words.iter().map(OsString::from).collect())
    }

    fn run(words: &[&str]) -> Invocation {
        match asked(words) {
            Asked::Run(invocation) => invocation,
            other => panic!("{words:?} is not a run: {other:?}"),
        }
    }

    #[test]
    fn without_arguments_the_usage_is_told() {
        assert_eq!(asked(&["moonswarm-init"]), Asked::Usage);
        assert_eq!(asked(&["moonswarm-init", "--help"]), Asked::Usage);
        assert_eq!(asked(&["moonswarm-init", "--version"]), Asked::Version);
    }

    #[test]
    fn a_name_that_ends_in_lua_is_a_file_and_what_follows_is_its_own() {
        let invocation = run(&["moonswarm-init", "/app/init.luau", "--help", "x.lua"]);
        assert_eq!(invocation.script, Script::File("/app/init.luau".into()));
        assert_eq!(invocation.position, 1);
    }

    #[test]
    fn the_file_may_stand_behind_other_words_or_be_the_program_s_own_name() {
        assert_eq!(run(&["moonswarm-init", "--", "a.lua"]).position, 2);
        assert_eq!(run(&["boot.lua", "start"]).position, 0);
    }

    #[test]
    fn anything_else_is_code() {
        let invocation = run(&["moonswarm-init", "print(1)", "x"]);
        assert_eq!(invocation.script, Script::Code("print(1)".into()));
    }

    #[test]
    fn the_usage_has_examples() {
        insta::assert_snapshot!(usage("moonswarm-init").lines().next().unwrap(), @"Usage: moonswarm-init [script [args...]]");
        assert!(usage("moonswarm-init").contains("Examples:"));
    }
}
