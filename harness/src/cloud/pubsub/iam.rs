//! Who may do what on a topic or subscription: kept and told, never asked.

use data_encoding::BASE64;
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(super) struct IamPolicy {
    bindings: Option<Value>,
    revision: u64,
}

impl IamPolicy {
    /// The policy as the REST API writes it.
    pub(super) fn told(&self) -> Value {
        let mut told = json!({ "version": 1, "etag": self.etag() });
        if let Some(bindings) = &self.bindings {
            told["bindings"] = bindings.clone();
        }
        told
    }

    /// Takes over the bindings and tells the policy again; `None` if the given etag is an old one.
    pub(super) fn replace(&mut self, new: &Value) -> Option<Value> {
        let etag = new["etag"].as_str().unwrap_or_default();
        if !etag.is_empty() && etag != self.etag() {
            return None;
        }
        self.bindings = new.get("bindings").cloned();
        self.revision += 1;
        Some(self.told())
    }

    fn etag(&self) -> String {
        BASE64.encode(&self.revision.to_be_bytes())
    }
}
