//! A value on the Lua stack → JSON text, under one budget of bytes, values and depth.
//!
//! Tables are read raw: no metamethod runs, because nothing here could be interrupted.

use std::fmt::Write as _;

use super::LOOK_EVERY;
use crate::fault::clip;
use crate::limits::{Bytes, Limits};
use crate::slot::time_is_up;
use crate::stack::{Kind, Pin, Position, Stack};

/// Bytes that most answers fit into.
const ROOM: usize = 256;

/// An array may have holes, written as `null`, as long as it is not mostly holes: `{[1e9] = 1}` is a mistake.
const HOLES_FREE: usize = 8;

/// Bytes of a string that is worth a look at what it takes before it is written.
const LONG: usize = 4096;

/// Bytes of a path such as `result.items[3]` that a message repeats.
const PATH_BYTES_MAX: usize = 200;

/// Why a value was not written.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Innermost step first: each level adds its own on the way out, so a value that is written pays nothing.
    steps: Vec<Step>,
    reason: Reason,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Element(usize),
}

#[derive(Debug)]
enum Reason {
    Exceeds(String),
    Invalid(String),
    /// The execution is over its deadline, which is what its caller will be told.
    Late,
}

impl Refused {
    fn exceeds(what: String) -> Self {
        Self { steps: Vec::new(), reason: Reason::Exceeds(what) }
    }

    fn invalid(what: impl Into<String>) -> Self {
        Self { steps: Vec::new(), reason: Reason::Invalid(what.into()) }
    }

    fn late() -> Self {
        Self { steps: Vec::new(), reason: Reason::Late }
    }

    fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Whether a limit is the reason, and not the value's kind.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.reason, Reason::Exceeds(_) | Reason::Late)
    }

    /// One sentence, such as ``result.items[3] is a function, which JSON has no form for``.
    pub(crate) fn sentence(&self) -> String {
        self.sentence_about("result")
    }

    /// The same about a value of another name.
    pub(crate) fn sentence_about(&self, name: &str) -> String {
        let what = match &self.reason {
            Reason::Exceeds(what) => return format!("{name} {what}"),
            Reason::Late => return format!("{name} was not written before the deadline"),
            Reason::Invalid(what) => what,
        };
        let mut path = name.to_owned();
        for step in self.steps.iter().rev() {
            // Writing to a string cannot fail.
            let _ = match step {
                Step::Element(index) => write!(path, "[{index}]"),
                Step::Field(name) if is_identifier(name) => write!(path, ".{name}"),
                Step::Field(name) => write!(path, "[{name:?}]"),
            };
        }
        format!("{} {what}", clip(&path, PATH_BYTES_MAX))
    }
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Writes the value at `position`; `array` marks tables that are arrays even when empty.
///
/// The stack is left with leftovers on an error, unchanged otherwise.
pub(crate) fn take(stack: &mut Stack, position: Position, limits: &Limits, array: Pin) -> Result<Vec<u8>, Refused> {
    let mut writer = Writer { stack, text: Vec::with_capacity(ROOM), nodes_left: limits.output_nodes, limits, array };
    writer.value(position, limits.depth)?;
    writer.check_bytes(0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    stack: &'a mut Stack,
    text: Vec<u8>,
    nodes_left: u32,
    limits: &'a Limits,
    array: Pin,
}

impl Writer<'_> {
    fn value(&mut self, position: Position, depth: u32) -> Result<(), Refused> {
        self.count()?;
        match self.stack.kind(position) {
            Kind::Nil | Kind::LightUserdata => self.text.extend_from_slice(b"null"),
            Kind::Boolean if self.stack.boolean(position) => self.text.extend_from_slice(b"true"),
            Kind::Boolean => self.text.extend_from_slice(b"false"),
            Kind::Number => return self.number(self.stack.number(position)),
            Kind::Integer => self.plain(&self.stack.integer(position)),
            Kind::String => return self.string(position),
            Kind::Table => {
                let depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| Refused::exceeds(format!("is nested deeper than {}", self.limits.depth)))?;
                return self.table(position, depth);
            }
            kind @ (Kind::Function | Kind::Userdata | Kind::Thread | Kind::Buffer | Kind::Vector) => {
                return Err(Refused::invalid(format!("is {}, which JSON has no form for", kind.name())));
            }
        }
        Ok(())
    }

    /// Counts a value and what was written so far.
    fn count(&mut self) -> Result<(), Refused> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| self.too_many())?;
        self.check_bytes(0)?;
        if self.nodes_left.is_multiple_of(LOOK_EVERY) { in_time() } else { Ok(()) }
    }

    fn too_many(&self) -> Refused {
        Refused::exceeds(format!("has more than {} values", self.limits.output_nodes))
    }

    fn check_bytes(&self, more: usize) -> Result<(), Refused> {
        if self.text.len() + more > self.limits.output_bytes {
            return Err(Refused::exceeds(format!("is more than {} of JSON", Bytes(self.limits.output_bytes))));
        }
        Ok(())
    }

    /// A bare JSON number.
    fn plain(&mut self, value: &impl serde::Serialize) {
        serde_json::to_writer(&mut self.text, value).expect("numbers are JSON, and a vector takes all");
    }

    /// Integers without a fraction and exactly, as far as 64 bits go; `-0` as `0`.
    fn number(&mut self, value: f64) -> Result<(), Refused> {
        const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
        if !value.is_finite() {
            let name = if value.is_nan() { "NaN" } else { "infinite" };
            return Err(Refused::invalid(format!("is {name}, which JSON has no form for")));
        }
        if value.fract() == 0.0 && value.abs() < TWO_TO_63 {
            #[expect(clippy::cast_possible_truncation, reason = "an integer in the range of i64, checked above")]
            self.plain(&(value as i64));
        } else {
            self.plain(&value);
        }
        Ok(())
    }

    fn string(&mut self, position: Position) -> Result<(), Refused> {
        let bytes = self.stack.bytes(position);
        // Before the copy, which escapes can make six times as long.
        self.check_bytes(bytes.len() + if bytes.len() > LONG { escapes(bytes) } else { 0 })?;
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::invalid("is a string that is not UTF-8"))?;
        serde_json::to_writer(&mut self.text, text).expect("strings are JSON, and a vector takes all");
        Ok(())
    }

    /// The first key decides: a string makes it an object, a number an array.
    fn table(&mut self, table: Position, depth: u32) -> Result<(), Refused> {
        in_time()?;
        let before = self.stack.top();
        let Some(cursor) = self.stack.push_next(table, 0) else {
            let is_array = self.stack.has_metatable(table, self.array);
            self.text.extend_from_slice(if is_array { b"[]" } else { b"{}" });
            return Ok(());
        };
        let first_key = self.stack.kind(before.after());
        match first_key {
            Kind::String => self.object(table, before, cursor, depth)?,
            Kind::Number => {
                self.stack.cut(before);
                self.array(table, depth)?;
            }
            kind => return Err(Refused::invalid(format!("has {} as key", kind.name()))),
        }
        self.stack.cut(before);
        Ok(())
    }

    /// With the first entry on the stack, above `before`.
    fn object(&mut self, table: Position, before: Position, mut cursor: i32, depth: u32) -> Result<(), Refused> {
        let key = before.after();
        let value = key.after();
        self.text.push(b'{');
        loop {
            match self.stack.kind(key) {
                Kind::String => {}
                Kind::Number => return Err(Refused::invalid("mixes names and numbers as keys")),
                kind => return Err(Refused::invalid(format!("has {} as key", kind.name()))),
            }
            self.string(key).map_err(|refused| {
                if refused.is_limit() { refused } else { Refused::invalid("has a name that is not UTF-8") }
            })?;
            self.text.push(b':');
            self.value(value, depth).map_err(|refused| {
                refused.within(Step::Field(String::from_utf8_lossy(self.stack.bytes(key)).into_owned()))
            })?;
            self.stack.cut(before);
            match self.stack.push_next(table, cursor) {
                Some(next) => cursor = next,
                None => break,
            }
            self.text.push(b',');
        }
        self.text.push(b'}');
        Ok(())
    }

    fn array(&mut self, table: Position, depth: u32) -> Result<(), Refused> {
        let length = self.length(table)?;
        self.text.push(b'[');
        for index in 1..=length {
            if index > 1 {
                self.text.push(b',');
            }
            let element = self.stack.push_element(table, i32::try_from(index).unwrap_or(i32::MAX));
            self.value(element, depth).map_err(|refused| refused.within(Step::Element(index)))?;
            self.stack.pop();
        }
        self.text.push(b']');
        Ok(())
    }

    /// The largest key, after checking that all keys are those of an array.
    fn length(&mut self, table: Position) -> Result<usize, Refused> {
        let before = self.stack.top();
        let (mut count, mut largest, mut cursor) = (0_usize, 0_usize, 0);
        while let Some(next) = self.stack.push_next(table, cursor) {
            let key = before.after();
            largest = match self.stack.kind(key) {
                Kind::Number => largest.max(index(self.stack.number(key))?),
                Kind::String => return Err(Refused::invalid("mixes names and numbers as keys")),
                kind => return Err(Refused::invalid(format!("has {} as key", kind.name()))),
            };
            count += 1;
            if count > self.nodes_left as usize {
                return Err(self.too_many());
            }
            cursor = next;
            self.stack.cut(before);
        }
        if largest > 2 * count + HOLES_FREE {
            return Err(Refused::invalid(format!("is an array of {largest} elements with only {count} of them there")));
        }
        Ok(largest)
    }
}

/// Bytes that `\u0000` and its like add to what they stand for.
fn escapes(bytes: &[u8]) -> usize {
    let is_long = |byte: &&u8| **byte < 0x20 && !matches!(byte, 0x08 | 0x09 | 0x0a | 0x0c | 0x0d);
    bytes.iter().filter(is_long).count() * (r"\u0000".len() - 1)
}

fn in_time() -> Result<(), Refused> {
    if time_is_up() { Err(Refused::late()) } else { Ok(()) }
}

/// A number as index of an array.
fn index(key: f64) -> Result<usize, Refused> {
    if key.fract() != 0.0 || !(1.0..=f64::from(i32::MAX)).contains(&key) {
        return Err(Refused::invalid(format!("has the number {key} as key; arrays count from 1")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a whole number from 1 to i32::MAX")]
    Ok(key as usize)
}
