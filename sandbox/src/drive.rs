//! The turn of an execution's tasks, which `tasks.luau` runs, and the answers that some of them wait for.

use std::ffi::c_int;
use std::time::Duration;

use crate::asks::Answer;
use crate::forms::{Failure, check};
use crate::json;
use crate::limits::Bytes;
use crate::stack::Kind;
use crate::turn::Turn;

/// What is to be done after the tasks had their turn.
pub(crate) enum Driven {
    /// The main coroutine has so many arguments and is to be resumed.
    Main(c_int),
    /// Nothing is ready.
    Idle { wake_in: Option<Duration>, asking: bool },
}

impl Turn<'_> {
    /// Whether the execution has used anything of `task`, or asked who it is.
    pub(crate) fn has_tasks(&mut self) -> bool {
        let top = self.stack.top();
        self.stack.push_pin(self.parts.shared.now);
        let tasks = self.stack.push_element(top.after(), 1);
        let has = self.stack.kind(tasks) == Kind::Table;
        self.stack.cut(top);
        has
    }

    /// Lets `tasks.luau` deliver answers, wake sleepers and run what is ready.
    pub(crate) fn drive(&mut self, answers: Vec<Answer>) -> Result<Driven, Failure> {
        let top = self.stack.top();
        self.stack.push_pin(self.parts.shared.drive);
        self.stack.push_copy(self.thread);
        if answers.is_empty() {
            self.stack.push_nil();
        } else {
            self.push_answers(answers);
        }
        check(self.stack.call(2), self.stack)?;
        let (first, second, third) = (top.after(), top.after().after(), top.after().after().after());
        if self.stack.boolean(first) {
            let arguments = self.stack.count_above(first);
            self.stack.send(self.thread, arguments);
            self.stack.cut(top);
            return Ok(Driven::Main(arguments));
        }
        let wake_in = match self.stack.kind(second) {
            Kind::Number => {
                Some(Duration::try_from_secs_f64(self.stack.number(second).max(0.0)).unwrap_or(Duration::MAX))
            }
            _ => None,
        };
        let asking = self.stack.boolean(third);
        self.stack.cut(top);
        Ok(Driven::Idle { wake_in, asking })
    }

    /// Pushes an array of id, success, value or sentence, and so on, with their number in `n`.
    fn push_answers(&mut self, answers: Vec<Answer>) {
        let table = self.stack.push_table(0, 1);
        let mut n = 0;
        for Answer { id, outcome } in answers {
            let value = self.push_answer(outcome);
            self.stack.set_element(table, n + 3);
            self.stack.push_boolean(value);
            self.stack.set_element(table, n + 2);
            self.stack.push_number(id.into());
            self.stack.set_element(table, n + 1);
            n += 3;
        }
        self.stack.push_number(n.into());
        self.stack.set_field(table, c"n");
    }

    /// Pushes the value of an answer, or a sentence and gives false.
    fn push_answer(&mut self, outcome: Result<Vec<u8>, String>) -> bool {
        let top = self.stack.top();
        let max = self.limits.input_bytes;
        let sentence = match outcome {
            Ok(json) if json.len() > max => format!("the answer has {} bytes, the limit is {}", json.len(), Bytes(max)),
            Ok(json) => match json::push(self.stack, &json, self.limits.depth, self.parts.shared.array) {
                Ok(()) => return true,
                Err(error) => format!("the answer is not usable JSON: {error}"),
            },
            Err(sentence) => sentence,
        };
        self.stack.cut(top);
        self.stack.push_bytes(sentence.as_bytes());
        false
    }
}
