//! Templates and a stack become resources.
//!
//! Values are escaped for the place they stand in: in `*.tera` for a TOML string, in `*.sh.tera` for a shell word in
//! single quotes. What a person writes into a stack file can't become structure.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tera::{Context, ErrorKind, Tera};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::{Fault, Faults, Source};
use crate::read;
use crate::resource::{Id, Kind, Name, Resource, Spec};
use crate::stack::Stack;

/// The templates of resources, by their names.
const TEMPLATES: &[(&str, &str)] = &[
    ("network.tera", include_str!("../templates/network.tera")),
    ("identity.tera", include_str!("../templates/identity.tera")),
    ("messaging.tera", include_str!("../templates/messaging.tera")),
    ("nodes.tera", include_str!("../templates/nodes.tera")),
];
/// What a machine runs at every boot.
const STARTUP: (&str, &str) = ("startup.sh.tera", include_str!("../templates/startup.sh.tera"));

/// The stacks of the repository, by their file names.
#[cfg(test)]
pub(crate) const STACKS: &[(&str, &str)] =
    &[("local.toml", include_str!("../stacks/local.toml")), ("example.toml", include_str!("../stacks/example.toml"))];

/// A machine, as templates see it.
#[derive(Debug, Serialize)]
struct Node {
    name: String,
    zone: String,
    ordinal: u32,
    /// Empty for workers: theirs is any of the subnet.
    address: String,
}

/// The resources of a stack, in the order of their ids.
///
/// # Errors
/// [`Faults`]: everything that is wrong with what the templates became, all in one go.
pub fn resources(stack: &Stack) -> Result<Vec<Resource>, Faults> {
    render(stack, TEMPLATES)
}

fn render(stack: &Stack, templates: &[(&str, &str)]) -> Result<Vec<Resource>, Faults> {
    let mut context = context(stack);
    let script = one(STARTUP, &context, escape_shell).map_err(|fault| Faults(vec![fault]))?;
    context.insert("startup_script", &script);

    let mut faults = Vec::new();
    let mut found = Found::default();
    for (name, text) in templates {
        match one((name, text), &context, escape_toml) {
            Ok(text) => {
                let source = Source::new(format!("infra/templates/{name} (rendered for `{}`)", stack.name), text);
                found.read(&source, &mut faults);
            }
            Err(fault) => faults.push(fault),
        }
    }
    found.check_references(&mut faults);
    if faults.is_empty() {
        Ok(found.resources.into_values().map(|(resource, _, _)| resource).collect())
    } else {
        Err(Faults::sorted(faults))
    }
}

fn context(stack: &Stack) -> Context {
    let node = |role: &str, ordinal: u32| Node {
        name: format!("{}-{role}-{ordinal}", stack.name),
        zone: stack.zones[ordinal as usize % stack.zones.len()].clone(),
        ordinal,
        address: if role == "manager" { stack.manager_address(ordinal).to_string() } else { String::new() },
    };
    let nodes = |role: &'static str, count: u32| (0..count).map(|ordinal| node(role, ordinal)).collect::<Vec<_>>();
    let mut context = Context::new();
    context.insert("stack", stack);
    context.insert("scripts_bucket", &stack.scripts_bucket());
    context.insert("managers", &nodes("manager", stack.managers.count));
    context.insert("workers", &nodes("worker", stack.workers.count));
    context
}

fn one((name, text): (&str, &str), context: &Context, escape: tera::EscapeFn) -> Result<String, Fault> {
    let mut tera = Tera::new();
    tera.set_escape_fn(escape);
    tera.autoescape_on([".tera"]);
    let rendered = tera.add_raw_template(name, text).and_then(|()| tera.render(name, context));
    rendered.map_err(|err| {
        let source = Source::new(format!("infra/templates/{name}"), text);
        match err.kind() {
            ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
                Fault::new(&source, report.span().range.clone(), report.message())
            }
            _ => Fault::new(&source, 0..0, err.to_string()),
        }
    })
}

/// For a basic string of TOML: between double quotes, on one line.
fn escape_toml(text: &str, out: &mut dyn Write) -> std::io::Result<()> {
    for letter in text.chars() {
        match letter {
            '"' => out.write_all(b"\\\"")?,
            '\\' => out.write_all(b"\\\\")?,
            '\n' => out.write_all(b"\\n")?,
            letter if letter.is_control() => write!(out, "\\u{:04X}", u32::from(letter))?,
            letter => write!(out, "{letter}")?,
        }
    }
    Ok(())
}

/// For a word of the shell in single quotes.
fn escape_shell(text: &str, out: &mut dyn Write) -> std::io::Result<()> {
    out.write_all(text.replace('\'', r"'\''").replace('\0', "").as_bytes())
}

/// What every resource has beside its fields.
#[derive(Deserialize)]
struct Head {
    name: Spanned<Name>,
    #[serde(default)]
    protect: bool,
}

type Place = std::ops::Range<usize>;

/// The resources so far, with where each stands.
#[derive(Default)]
struct Found {
    resources: BTreeMap<Id, (Resource, Arc<Source>, Place)>,
    /// Were there, but with faults: who refers to them is right.
    faulty: BTreeSet<Id>,
}

impl Found {
    fn read(&mut self, source: &Arc<Source>, faults: &mut Vec<Fault>) {
        let Some(tables) = read::parse(source, faults) else { return };
        for (key, value) in tables.into_inner() {
            let Some(kind) = Kind::ALL.iter().find(|kind| kind.as_str() == key.get_ref()) else {
                let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                let fault = Fault::new(source, key.span(), format!("`{}` is no kind of resource", key.get_ref()));
                faults.push(fault.expected(format!("one of {}", kinds.join(", "))));
                continue;
            };
            let span = value.span();
            let DeValue::Array(items) = value.into_inner() else {
                faults.push(Fault::new(source, span, format!("`{kind}` is no list")).expected(format!("`[[{kind}]]`")));
                continue;
            };
            for item in items {
                let span = item.span();
                match item.into_inner() {
                    DeValue::Table(table) => self.read_one(*kind, source, Spanned::new(span, table), faults),
                    _ => faults.push(Fault::new(source, span, "this is no resource").expected(format!("`[[{kind}]]`"))),
                }
            }
        }
    }

    fn read_one(&mut self, kind: Kind, source: &Arc<Source>, mut table: Spanned<DeTable<'_>>, faults: &mut Vec<Fault>) {
        let span = table.span();
        let mut head = DeTable::new();
        for key in ["name", "protect"] {
            if let Some((key, value)) = table.get_mut().remove_entry(key) {
                head.insert(key, value);
            }
        }
        let head = read::read::<Head>(source, Spanned::new(span.clone(), head), faults);
        let spec = Spec::read(kind, source, table, faults);
        let Some(head) = head else { return };
        let id = Id::new(kind, head.name.get_ref());
        let place = head.name.span();
        let Some(spec) = spec else {
            self.faulty.insert(id);
            return;
        };
        if self.resources.contains_key(&id) {
            let fault = Fault::new(source, place, format!("`{id}` is there twice"));
            faults.push(fault.expected("another name: names are all that tells resources apart"));
            return;
        }
        let resource = Resource { id: id.clone(), protect: head.protect, spec };
        self.resources.insert(id, (resource, Arc::clone(source), place));
    }

    fn check_references(&self, faults: &mut Vec<Fault>) {
        for (resource, source, place) in self.resources.values() {
            for wanted in resource.spec.references() {
                if self.resources.contains_key(&wanted) || self.faulty.contains(&wanted) {
                    continue;
                }
                let known: Vec<_> = self
                    .resources
                    .keys()
                    .filter(|id| id.kind == wanted.kind)
                    .map(|id| format!("`{}`", id.name))
                    .collect();
                let expected = if known.is_empty() { "a template that makes one".into() } else { known.join(", ") };
                let message = format!("`{}` refers to `{wanted}`, which no template makes", resource.id);
                faults.push(Fault::new(source, reference_place(source, place, &wanted), message).expected(expected));
            }
        }
    }
}

/// Where a resource that begins at `head` names another; its own name if that can't be told.
fn reference_place(source: &Source, head: &Place, wanted: &Id) -> Place {
    let rest = &source.text[head.end..];
    let end = rest.find("\n[[").unwrap_or(rest.len());
    let quoted = [format!("\"{}\"", wanted.name), format!("\"{wanted}\"")];
    let found = quoted.iter().find_map(|text| rest[..end].find(text.as_str()).map(|at| (at, text.len())));
    found.map_or_else(|| head.clone(), |(at, length)| head.end + at..head.end + at + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(text: &str) -> Stack {
        Stack::parse("test.toml", text).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn small() -> Stack {
        stack("name = 'a'\nproject = 'p'\nregion = 'r'\nzones = ['r-a']\n[managers]\ncount = 1\n[workers]\ncount = 0")
    }

    fn faults_of(template: &str) -> String {
        render(&small(), &[("x.tera", template)]).unwrap_err().to_string()
    }

    #[test]
    fn the_example_becomes_these_resources() {
        let stack = stack(STACKS[1].1);

        let mut rendered = resources(&stack).unwrap_or_else(|faults| panic!("{faults}"));

        for resource in &mut rendered {
            if let Spec::Instance(instance) = &mut resource.spec {
                let script = instance.metadata.get_mut("startup-script").expect("every machine has one");
                assert!(script.starts_with("#!"), "{script}");
                *script = "(the script)".into();
            }
        }
        let lines: Vec<_> = rendered
            .iter()
            .map(|resource| format!("{} {}", resource.id, serde_json::to_string(&resource.spec).unwrap()))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn every_resource_is_read_back_from_a_plan_or_a_state_as_it_was_written() {
        for resource in resources(&stack(STACKS[0].1)).unwrap_or_else(|faults| panic!("{faults}")) {
            let text = serde_json::to_string(&resource).unwrap();

            assert_eq!(serde_json::from_str::<Resource>(&text).unwrap(), resource);
        }
    }

    #[test]
    fn the_startup_script_of_the_example_is_this_one() {
        let stack = stack(STACKS[1].1);

        insta::assert_snapshot!(one(STARTUP, &context(&stack), escape_shell).unwrap_or_else(|fault| panic!("{fault}")));
    }

    #[test]
    fn hostile_text_stays_text_in_resources() {
        let hostile = "\"\n[[bucket]]\nname = \"x\" # ''' \\\" {{ stack.name }} \u{7} ${HOME} `id` é";
        let mut stack = small();
        stack.description = hostile.into();
        stack.region = hostile.into();

        let resources =
            render(&stack, &[("x.tera", "[[service_account]]\nname = \"a\"\ndisplay_name = \"{{ stack.region }}\"")])
                .unwrap();

        assert_eq!(resources.len(), 1);
        let Spec::ServiceAccount(account) = &resources[0].spec else { panic!("{resources:?}") };
        assert_eq!(account.display_name, hostile);
    }

    #[test]
    fn hostile_text_stays_text_in_the_startup_script() {
        let hostile = "x'; touch /tmp/owned; echo '$(id) `id` \\ \n'\"";
        let mut context = Context::new();
        context.insert("value", hostile);

        let script = one(("x.sh.tera", "printf %s '{{ value }}'"), &context, escape_shell).unwrap();

        let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), hostile);
    }

    #[test]
    fn everything_wrong_with_resources_is_said_at_once() {
        insta::assert_snapshot!(faults_of(
            "[[network]]\nname = \"a\"\nmtu = \"large\"\ncolour = \"red\"\n\n\
             [[subnet]]\nname = \"B\"\nnetwork = \"a\"\nregion = \"r\"\nrange = \"10.0.0.0/8\"\n\n\
             [[bukket]]\nname = \"c\"\n\n\
             [[secret]]\nname = \"d\"\n[[secret]]\nname = \"d\"\n\n\
             [[router]]\nname = \"e\"\nnetwork = \"other\"\nregion = \"r\"\nnat = \"n\"\n\n\
             [[binding]]\nname = \"f\"\non = \"disk/x\"\nrole = \"roles/x\"\nmember = \"somebody\"\n"
        ));
    }

    #[test]
    fn a_mistake_in_a_template_is_shown_in_the_template() {
        insta::assert_snapshot!(faults_of("[[network]]\nname = \"{{ stack.nme }}\"\n"));
    }
}
