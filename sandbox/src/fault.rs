//! Why an execution gave no result, told so that the script's author can mend it.

use contract::{Code, Diagnostic};

use crate::compile::Program;
use crate::limits::{Bytes, Limits, Time};
use crate::trace::Place;

/// Bytes of a script's own words that an answer repeats.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Why an execution gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// `script_error`, `rejected_by_middleware`, `deadline_exceeded`, `memory_exceeded`, `output_exceeded`,
    /// `result_invalid`, `bad_json`, `too_large`, `cancelled`, `internal`.
    pub code: Code,
    /// One sentence: which limit, how much.
    pub detail: String,
    /// Where in the script.
    pub diagnostics: Vec<Diagnostic>,
}

/// Which clock stopped an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Cpu,
    Wall,
}

impl Fault {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), diagnostics: Vec::new() }
    }

    /// The same, pointing to a place.
    fn at(mut self, program: &Program, place: &Place, message: &str) -> Self {
        if place.line > 0 {
            let file = file(program, place).to_owned();
            self.diagnostics = vec![Diagnostic { file, line: place.line, column: None, message: message.to_owned() }];
        }
        self
    }

    /// The script raised `text`, as far as known at `place`. The text's own `FILE:LINE: ` is believed first: it is nearer
    /// when a coroutine raised, and a forged one misleads only its author.
    pub(crate) fn raised(code: Code, program: &Program, text: &str, place: &Place) -> Self {
        let said = program.paths().find_map(|path| said(path, text));
        let (file, line, message) = said.unwrap_or((file(program, place), place.line, text));
        let message = clip(message, MESSAGE_BYTES_MAX);
        let diagnostic = Diagnostic { file: file.to_owned(), line, column: None, message };
        Self { code, detail: diagnostic.to_string(), diagnostics: vec![diagnostic] }
    }

    pub(crate) fn deadline(clock: Clock, limits: &Limits, program: &Program, place: &Place) -> Self {
        let file = program.file();
        let detail = match clock {
            Clock::Cpu => format!("`{file}` used more than {} of CPU time", Time(limits.cpu)),
            Clock::Wall => format!("`{file}` ran longer than {}", Time(limits.wall)),
        };
        Self::new(Code::DeadlineExceeded, detail).at(program, place, "was here when its time ran out")
    }

    pub(crate) fn memory(limit: usize, program: &Program, place: &Place) -> Self {
        let detail = format!("`{}` needed more than {} of memory", program.file(), Bytes(limit));
        Self::new(Code::MemoryExceeded, detail).at(program, place, "was here when memory ran out")
    }

    pub(crate) fn input_too_large(bytes: usize, limit: usize) -> Self {
        Self::new(Code::TooLarge, format!("input has {bytes} bytes, the limit is {}", Bytes(limit)))
    }

    pub(crate) fn bad_json(error: &serde_json::Error) -> Self {
        Self::new(Code::BadJson, format!("input is not usable JSON: {error}"))
    }

    pub(crate) fn internal(what: &str) -> Self {
        Self::new(Code::Internal, what)
    }

    /// What is left of `limit` when the VM itself, without a script, takes more.
    pub(crate) fn no_room(used: usize, limit: usize) -> Self {
        let detail = format!("a VM alone needs {used} bytes of memory, the limit is {}", Bytes(limit));
        Self::new(Code::MemoryExceeded, detail)
    }
}

/// The file of a place: a module, or the script as a whole.
fn file<'p>(program: &'p Program, place: &Place) -> &'p str {
    let module = place.chunk_name.as_deref().and_then(|name| program.module_of_chunk(name));
    module.map_or(program.file(), |module| &module.path)
}

/// Splits `FILE:LINE: MESSAGE` of this file.
fn said<'p, 't>(file: &'p str, text: &'t str) -> Option<(&'p str, u32, &'t str)> {
    let (line, message) = text.strip_prefix(file)?.strip_prefix(':')?.split_once(": ")?;
    Some((file, line.parse().ok()?, message))
}

/// The first `bytes_max` bytes of `text`, to the nearest whole character, with `…` where more was.
pub(crate) fn clip(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_a_message_is_found_only_for_the_scripts_own_file() {
        assert_eq!(said("risk.luau", "risk.luau:12: no price: x"), Some(("risk.luau", 12, "no price: x")));
        assert_eq!(said("risk.luau", "other.luau:12: no price"), None);
        assert_eq!(said("risk.luau", "risk.luau:x: no price"), None);
    }

    #[test]
    fn long_messages_are_clipped_between_characters() {
        assert_eq!(clip("grüße", 3), "gr…");
        assert_eq!(clip("grüße", 7), "grüße");
    }
}
