//! A plan in words for people.

use std::fmt;

use serde_json::Value;

use super::{Action, Change, Plan, Problem, Replacement, Step};
use crate::resource::Effect;

/// Longer values are told by their length: a startup script says nothing on one line.
const SHOWN_MAX: usize = 80;

impl Plan {
    /// `(to make, to change, to replace, to delete)`.
    pub fn counts(&self) -> (usize, usize, usize, usize) {
        let count = |wanted: Action, replaces: bool| {
            self.steps.iter().filter(|step| step.action == wanted && step.replaces.is_some() == replaces).count()
        };
        (
            count(Action::Create, false),
            count(Action::Update, false),
            count(Action::Create, true),
            count(Action::Delete, false),
        )
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() && self.problems.is_empty() {
            return write!(f, "`{}` is as it should be: {} resources, nothing to do.", self.stack, self.unchanged);
        }
        for step in &self.steps {
            step.tell(f)?;
        }
        let (make, change, replace, delete) = self.counts();
        let kept = self.unchanged;
        writeln!(f)?;
        writeln!(
            f,
            "Plan for `{}`: {make} to make, {change} to change, {replace} to replace, {delete} to delete, {kept} as they are.",
            self.stack
        )?;
        write!(f, "Swarm: {}.", self.impact)?;
        for problem in &self.problems {
            write!(f, "\n\nrefused: {problem}")?;
        }
        Ok(())
    }
}

impl Step {
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A replacement is told once, where the new one is made.
        let mark = match (self.action, &self.replaces) {
            (Action::Delete, Some(_)) => return Ok(()),
            (Action::Create, Some(_)) => "-/+",
            (Action::Create, None) => "  +",
            (Action::Update, _) => "  ~",
            (Action::Delete, None) => "  -",
            (Action::Record, _) => "  =",
            (Action::Forget, _) => "  x",
        };
        write!(f, "{mark} {}", self.id)?;
        let stops = self.changes.iter().any(|change| change.effect == Effect::Stop);
        match (self.action, &self.replaces) {
            (_, Some(Replacement::Because(id))) => write!(f, " (made anew because {id} is)")?,
            (Action::Record, _) => write!(f, " (there already, taken over)")?,
            (Action::Forget, _) => write!(f, " (gone already)")?,
            (Action::Update, _) if stops => write!(f, " (stopped and started again)")?,
            _ => {}
        }
        writeln!(f)?;
        for change in &self.changes {
            let forces = if change.effect == Effect::Replace { " (can't be changed, made anew)" } else { "" };
            writeln!(f, "      {change}{forces}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.field, value(self.old.as_ref()), value(self.new.as_ref()))
    }
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    match value {
        Value::String(text) if text.len() > SHOWN_MAX || text.contains('\n') => {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let digest = data_encoding::HEXLOWER.encode(&digest.as_ref()[..4]);
            format!("({} bytes, sha256 {digest}…)", text.len())
        }
        value => value.to_string(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { id, owner } => write!(
                f,
                "{id} is there already and belongs to {owner}. Give the stack another name, or delete it by hand."
            ),
            Self::Protected(id) => write!(
                f,
                "{id} holds data that would be lost. `--delete-data` does it all the same; `destroy --keep-data` leaves it."
            ),
            Self::Quorum => write!(
                f,
                "the Swarm would lose its quorum. Do one manager at a time with `--target instance/NAME`, or say \
                 `--break-quorum`."
            ),
            Self::Unknown(id) => {
                write!(f, "{id} is neither in the templates nor in the state; `provision state list` shows what is.")
            }
        }
    }
}
