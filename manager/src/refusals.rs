//! Which generations of which objects were refused, and why.
//!
//! Kept in memory only: after a restart they are tried again and refused again. Each object has at most one, the newest.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::api::Refused;

use crate::gate::Refusal;

/// More refused objects than a person would look through; beyond it the smallest names stay.
const KEPT_MAX: usize = 1000;

/// Refused generations by object name.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<String, Refused>>);

impl Refusals {
    /// Remembers a refusal, unless a newer generation of the object was refused already.
    pub fn insert(&self, object: &str, generation: i64, refusal: Refusal) {
        let mut kept = self.lock();
        if kept.get(object).is_some_and(|known| known.generation > generation) {
            return;
        }
        let Refusal { code, detail, diagnostics } = refusal;
        kept.insert(object.to_owned(), Refused { generation, code, detail, diagnostics });
        if kept.len() > KEPT_MAX {
            kept.pop_last();
        }
    }

    /// Forgets refusals of the object up to `generation`: something newer runs, or the object is gone.
    pub fn clear(&self, object: &str, generation: i64) {
        let mut kept = self.lock();
        if kept.get(object).is_some_and(|known| known.generation <= generation) {
            kept.remove(object);
        }
    }

    /// Forgets refusals of objects that `keep` does not keep.
    pub fn retain(&self, keep: impl Fn(&str, &Refused) -> bool) {
        self.lock().retain(|object, refused| keep(object, refused));
    }

    /// The refusal of an object.
    pub fn get(&self, object: &str) -> Option<Refused> {
        self.lock().get(object).cloned()
    }

    /// All of them, by object name.
    pub fn all(&self) -> BTreeMap<String, Refused> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Refused>> {
        // A map of finished values: one that panicked half-way through left it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Code;

    fn refusal(detail: &str) -> Refusal {
        Refusal { code: Code::ScriptRefused, detail: detail.to_owned(), diagnostics: Vec::new() }
    }

    #[test]
    fn the_newest_refusal_of_an_object_stays() {
        let refusals = Refusals::default();

        refusals.insert("a", 2, refusal("new"));
        refusals.insert("a", 1, refusal("old"));

        assert_eq!(refusals.get("a").unwrap().detail, "new");
    }

    #[test]
    fn a_refusal_goes_when_something_as_new_runs() {
        let refusals = Refusals::default();
        refusals.insert("a", 2, refusal("syntax"));

        refusals.clear("a", 1);
        assert!(refusals.get("a").is_some());

        refusals.clear("a", 2);
        assert!(refusals.get("a").is_none());
    }

    #[test]
    fn the_number_kept_is_bounded() {
        let refusals = Refusals::default();

        for index in 0..KEPT_MAX + 10 {
            refusals.insert(&format!("{index:05}"), 1, refusal("x"));
        }

        assert_eq!(refusals.all().len(), KEPT_MAX);
    }
}
