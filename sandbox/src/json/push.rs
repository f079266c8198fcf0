//! JSON text → values on the Lua stack.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::LOOK_EVERY;
use crate::slot::time_is_up;
use crate::stack::{Pin, Stack};

/// Elements and fields a new table has room for; more make it grow. Most tables of rules have a handful.
const ROOM: u16 = 4;

/// Pushes the value of `text` (empty text is `null`, `null` is nil). `array` marks empty arrays.
///
/// On an error the stack holds leftovers, which the protected call around drops.
pub(crate) fn push(stack: &mut Stack, text: &[u8], depth: u32, array: Pin) -> Result<(), serde_json::Error> {
    if text.is_empty() {
        stack.push_nil();
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    match (Value { stack: &mut *stack, depth, array }).deserialize(&mut deserializer)? {
        Pushed::Value => {}
        Pushed::Nothing => stack.push_nil(),
    }
    deserializer.end()
}

/// Whether there is a new value on top. A `null` is not: in a table it is the absence of a value.
enum Pushed {
    Value,
    Nothing,
}

/// The next JSON value, at most `depth` arrays and objects deep.
struct Value<'s> {
    stack: &'s mut Stack,
    depth: u32,
    array: Pin,
}

impl Value<'_> {
    /// The same for a value within this one.
    fn inner(&mut self) -> Value<'_> {
        Value { stack: &mut *self.stack, depth: self.depth, array: self.array }
    }

    fn descend<E: Error>(&mut self) -> Result<(), E> {
        in_time()?;
        self.depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(())
    }
}

fn in_time<E: Error>() -> Result<(), E> {
    // What the caller is told is that the deadline was exceeded.
    if time_is_up() { Err(E::custom("not read before the deadline")) } else { Ok(()) }
}

fn inexact<E: Error>(value: impl fmt::Display) -> E {
    E::custom(format_args!("integer {value} is not exact as a Luau number; send it as a string"))
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Pushed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Pushed, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an integral float of at most 2^64 fits 128 bits")]
impl<'de> Visitor<'de> for Value<'_> {
    type Value = Pushed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Pushed, E> {
        Ok(Pushed::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Pushed, E> {
        self.stack.push_boolean(value);
        Ok(Pushed::Value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Pushed, E> {
        let number = value as f64;
        // Compared as 128-bit integers: as 64-bit ones the float next to the largest would seem equal.
        if number as i128 != i128::from(value) {
            return Err(inexact(value));
        }
        self.stack.push_number(number);
        Ok(Pushed::Value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Pushed, E> {
        let number = value as f64;
        if number as i128 != i128::from(value) {
            return Err(inexact(value));
        }
        self.stack.push_number(number);
        Ok(Pushed::Value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Pushed, E> {
        self.stack.push_number(value);
        Ok(Pushed::Value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Pushed, E> {
        self.stack.push_bytes(value.as_bytes());
        Ok(Pushed::Value)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Pushed, A::Error> {
        self.descend()?;
        let table = self.stack.push_table(ROOM, 0);
        let mut index = 0;
        while let Some(pushed) = elements.next_element_seed(self.inner())? {
            index += 1;
            if index % LOOK_EVERY.cast_signed() == 0 {
                in_time()?;
            }
            if let Pushed::Value = pushed {
                self.stack.set_element(table, index);
            }
        }
        if index == 0 {
            self.stack.set_metatable(table, self.array);
        }
        Ok(Pushed::Value)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Pushed, A::Error> {
        self.descend()?;
        let table = self.stack.push_table(0, ROOM);
        while entries.next_key_seed(self.inner())?.is_some() {
            match entries.next_value_seed(self.inner())? {
                Pushed::Value => self.stack.set_entry(table),
                Pushed::Nothing => self.stack.pop(),
            }
        }
        Ok(Pushed::Value)
    }
}
