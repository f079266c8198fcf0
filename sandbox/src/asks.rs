//! What an execution asks of its host, and how much of it at once.

use std::mem;

use crate::capability::{Capability, Grants};
use crate::limits::Bytes;

/// Asks of one execution that may be unanswered at the same time.
const OPEN_MAX: usize = 64;

/// Something that only the host can do. The coroutine that asked waits for the [`Answer`] of the same id.
///
/// | capability | payload |
/// |---|---|
/// | `run` | `{"script": text, "input": any}` |
/// | `http` | `{"method": text, "url": text, "headers": {text: text}, "body": text, "timeout": seconds}` |
///
/// Fields that the script left out are absent, but for `script`, `method` and `url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of this ask, within its execution.
    pub id: u32,
    /// What is asked for; the execution has it.
    pub capability: Capability,
    /// JSON text.
    pub payload: Vec<u8>,
}

/// What became of an [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of the ask.
    pub id: u32,
    /// JSON text, which the script gets as a value, or a sentence, which is raised where the script asked.
    pub outcome: Result<Vec<u8>, String>,
}

/// The asks of one execution.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    /// Since the last step.
    made: Vec<Ask>,
    made_bytes: usize,
    last_id: u32,
    /// Ids that have no answer yet.
    open: Vec<u32>,
}

impl Asks {
    /// Notes an ask and gives its id. `bytes_max` bounds the payloads of one step together.
    ///
    /// # Errors
    /// A sentence for the script: it lacks the capability, or asks too much at once.
    pub(crate) fn make(
        &mut self,
        grants: Grants,
        capability: Capability,
        payload: Vec<u8>,
        bytes_max: usize,
    ) -> Result<u32, String> {
        if !grants.contains(capability) {
            return Err(format!("this execution lacks the capability `{capability}`"));
        }
        if self.open.len() >= OPEN_MAX {
            return Err(format!("{OPEN_MAX} calls of `run` and `http` are unanswered; wait for one before the next"));
        }
        if self.made_bytes + payload.len() > bytes_max {
            return Err(format!("calls of `run` and `http` hold more than {} at once", Bytes(bytes_max)));
        }
        self.made_bytes += payload.len();
        self.last_id += 1;
        self.open.push(self.last_id);
        self.made.push(Ask { id: self.last_id, capability, payload });
        Ok(self.last_id)
    }

    /// Those made since this was called last.
    pub(crate) fn take(&mut self) -> Vec<Ask> {
        self.made_bytes = 0;
        mem::take(&mut self.made)
    }

    /// False if nothing of that id waits for an answer.
    pub(crate) fn close(&mut self, id: u32) -> bool {
        let place = self.open.iter().position(|&open| open == id);
        place.map(|place| self.open.swap_remove(place)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Grants = Grants::NONE;

    fn make(asks: &mut Asks, bytes: usize) -> Result<u32, String> {
        asks.make(RUN.with(Capability::Run), Capability::Run, vec![b' '; bytes], 100)
    }

    #[test]
    fn an_ask_without_its_capability_is_refused() {
        let refused = Asks::default().make(Grants::default(), Capability::Http, Vec::new(), 100).unwrap_err();

        insta::assert_snapshot!(refused, @"this execution lacks the capability `http`");
    }

    #[test]
    fn unanswered_asks_are_bounded_and_an_answer_makes_room() {
        let mut asks = Asks::default();
        for id in 1..=64 {
            assert_eq!(make(&mut asks, 0), Ok(id));
        }
        insta::assert_snapshot!(
            make(&mut asks, 0).unwrap_err(),
            @"64 calls of `run` and `http` are unanswered; wait for one before the next"
        );

        assert!(asks.close(7));
        assert!(!asks.close(7));

        assert_eq!(make(&mut asks, 0), Ok(65));
    }

    #[test]
    fn payloads_of_one_step_are_bounded_together() {
        let mut asks = Asks::default();
        make(&mut asks, 60).unwrap();
        insta::assert_snapshot!(
            make(&mut asks, 41).unwrap_err(),
            @"calls of `run` and `http` hold more than 100 bytes at once"
        );

        assert_eq!(asks.take().len(), 1);

        assert_eq!(make(&mut asks, 100), Ok(2));
    }
}
