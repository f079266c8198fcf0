//! Policy scripts: handlers that are called once, without input, and whose answer says on which terms others run.

use std::sync::Arc;

use contract::policy::{Document, Vocabulary};
use contract::{Code, Diagnostic, ScriptName, TenantName};

use crate::call::{Call, State};
use crate::capability::{Capability, Grants};
use crate::compile::{Program, Refusal};
use crate::engine::Engine;
use crate::limits::Limits;

/// The policy that `program`, a policy script of `tenant`, answers. It has no input and no capabilities, so that every
/// program that asks gets the same answer.
///
/// # Errors
/// [`Refusal`]: it failed, as any script may, or its answer is no policy; then the diagnostic names the field.
pub fn policy(
    engine: &Arc<Engine>,
    program: &Program,
    tenant: &TenantName,
    limits: &Limits,
) -> Result<Document, Refusal> {
    let file = &program.entry().path;
    let mut vm = engine.vm(limits).map_err(|fault| refusal(fault.code, fault.detail, fault.diagnostics))?;
    let call =
        Call { grants: &Grants::NONE, ..Call::new(tenant.as_str(), ScriptName::POLICY, "check", "check", limits) };
    let answer = vm.run(program, &call).outcome.map_err(|fault| {
        // What kept it from answering is the script's fault, whatever limit that was.
        let code = if fault.code == Code::Internal { Code::Internal } else { Code::ScriptRefused };
        refusal(code, format!("`{file}` gave no policy: {}", fault.detail), fault.diagnostics)
    })?;
    let capabilities = Capability::ALL.map(Capability::as_str);
    let states = State::ALL.map(State::as_str);
    let vocabulary = Vocabulary { capabilities: &capabilities, states: &states };
    Document::read(tenant, &answer.into_json(), vocabulary).map_err(|fault| {
        let diagnostic = Diagnostic { file: file.clone(), line: 0, column: None, message: fault.to_string() };
        refusal(Code::ScriptRefused, diagnostic.to_string(), vec![diagnostic])
    })
}

fn refusal(code: Code, detail: String, diagnostics: Vec<Diagnostic>) -> Refusal {
    Refusal { code, detail, diagnostics }
}
