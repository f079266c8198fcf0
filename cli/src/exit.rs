//! Exit codes: what a shell script learns without reading any text.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for is true now.
    Done,
    /// None of the others.
    Other,
    /// The command line or a setting is at fault; the number is clap's too.
    Usage,
    /// The script is at fault.
    Script,
    /// A precondition did not hold.
    Conflict,
    /// Committed, but not every executor runs it.
    NotLive,
    /// No answer.
    Unreachable,
}

impl Exit {
    /// Every code, in order of its number.
    const ALL: [Self; 7] =
        [Self::Done, Self::Other, Self::Usage, Self::Script, Self::Conflict, Self::NotLive, Self::Unreachable];

    /// The number the shell sees.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::Script => 3,
            Self::Conflict => 4,
            Self::NotLive => 5,
            Self::Unreachable => 6,
        }
    }

    /// The meaning, as `--help` tells it.
    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Other => "any other error",
            Self::Usage => "the command line or a setting is wrong",
            Self::Script => "the script is at fault: refused, or its execution failed",
            Self::Conflict => "somebody else changed the script first",
            Self::NotLive => "committed, but not live on every executor in time",
            Self::Unreachable => "the manager or executor gave no answer",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// The table of exit codes that ends `--help`.
pub(crate) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}", exit.number(), exit.meaning()));
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_promised_to_scripts() {
        insta::assert_snapshot!(help(), @"
        Exit codes:
          0  done
          1  any other error
          2  the command line or a setting is wrong
          3  the script is at fault: refused, or its execution failed
          4  somebody else changed the script first
          5  committed, but not live on every executor in time
          6  the manager or executor gave no answer
        ");
    }

    #[test]
    fn the_guide_tells_every_code_in_the_same_words() {
        let guide = include_str!("../../docs/guide.md");

        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.number(), exit.meaning());
            assert!(guide.contains(&row), "docs/guide.md has no row `{row}`");
        }
    }
}
