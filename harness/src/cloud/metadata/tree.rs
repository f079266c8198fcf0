//! What an instance may know, as a tree; paths are its branches, and it is told as text or JSON.

use serde_json::{Map, Value, json};

use crate::cloud::PROJECT_NUMBER;
use crate::cloud::compute::{Path, State};

/// A branch or a leaf.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Leaf(Value),
    /// Names as in paths (`machine-type`); in JSON they are told as `machineType`.
    Folder(Vec<(String, Node)>),
    /// A folder whose names were given by users and are told as they are.
    Users(Vec<(String, Node)>),
    /// A folder with the names 0, 1, …
    List(Vec<Node>),
}

/// The whole tree of an instance; `None`: it is gone.
pub(super) fn of(state: &State, instance: &Path) -> Option<Node> {
    let resource = state.resources.get(instance)?;
    let text = |value: &Value| Node::Leaf(value.as_str().unwrap_or_default().into());
    let leaf = |value: &str| Node::Leaf(value.into());
    let project = format!("projects/{PROJECT_NUMBER}");
    let own = &resource.body["networkInterfaces"][0];
    let last = |link: &Value| link.as_str().and_then(|link| link.rsplit('/').next()).unwrap_or_default().to_owned();
    let zone = instance.scope.text().trim_start_matches("zones/").to_owned();
    let interface = Node::Folder(vec![
        ("access-configs".into(), Node::List(Vec::new())),
        ("gateway".into(), leaf(&state.gateway_of(resource))),
        ("ip".into(), text(&own["networkIP"])),
        ("mac".into(), leaf("02:00:00:00:00:01")),
        ("mtu".into(), Node::Leaf(state.mtu_of(resource).into())),
        ("network".into(), leaf(&format!("{project}/networks/{}", last(&own["network"])))),
        ("subnetmask".into(), leaf(&state.netmask_of(resource))),
    ]);
    let disks = resource.body["disks"].as_array().into_iter().flatten().enumerate().map(|(index, disk)| {
        Node::Folder(vec![
            ("device-name".into(), text(&disk["deviceName"])),
            ("index".into(), Node::Leaf(index.into())),
            ("mode".into(), text(&disk["mode"])),
            ("type".into(), text(&disk["type"])),
        ])
    });
    let guest = guest_attributes(state, instance);
    let instance_folder = Node::Folder(vec![
        ("attributes".into(), attributes(&resource.body["metadata"])),
        ("cpu-platform".into(), text(&resource.body["cpuPlatform"])),
        ("description".into(), text(resource.body.get("description").unwrap_or(&Value::Null))),
        ("disks".into(), Node::List(disks.collect())),
        ("guest-attributes".into(), guest),
        ("hostname".into(), leaf(&format!("{}.{zone}.c.{}.internal", instance.name, instance.project))),
        ("id".into(), Node::Leaf(resource.id.into())),
        ("machine-type".into(), leaf(&format!("{project}/machineTypes/{}", last(&resource.body["machineType"])))),
        ("name".into(), leaf(&instance.name)),
        ("network-interfaces".into(), Node::List(vec![interface])),
        ("preempted".into(), leaf("FALSE")),
        ("service-accounts".into(), accounts(&resource.body)),
        ("tags".into(), Node::Leaf(resource.body["tags"].get("items").cloned().unwrap_or_else(|| json!([])))),
        ("zone".into(), leaf(&format!("{project}/zones/{zone}"))),
    ]);
    let project_folder = Node::Folder(vec![
        ("attributes".into(), attributes(&state.project_metadata(resource))),
        ("numeric-project-id".into(), Node::Leaf(PROJECT_NUMBER.parse::<u64>().unwrap_or_default().into())),
        ("project-id".into(), leaf(&instance.project)),
    ]);
    Some(Node::Folder(vec![("instance".into(), instance_folder), ("project".into(), project_folder)]))
}

/// The email of the instance's service account.
pub(super) fn account_of(state: &State, instance: &Path) -> Option<String> {
    let account = &state.resources.get(instance)?.body.get("serviceAccounts")?[0]["email"];
    account.as_str().map(str::to_owned)
}

/// The metadata of the instance, or else of the project, decide.
pub(super) fn allows_guest_attributes(state: &State, instance: &Path) -> bool {
    let Some(resource) = state.resources.get(instance) else { return false };
    let (own, projects) = (resource.body["metadata"].clone(), state.project_metadata(resource));
    let read = |metadata: &Value| {
        let items = metadata["items"].as_array()?;
        let item = items.iter().find(|item| item["key"] == "enable-guest-attributes")?;
        Some(item["value"].as_str()?.eq_ignore_ascii_case("true"))
    };
    read(&own).or_else(|| read(&projects)).unwrap_or(false)
}

fn attributes(metadata: &Value) -> Node {
    let items = metadata["items"].as_array().into_iter().flatten();
    let pair = |item: &Value| {
        Some((item["key"].as_str()?.to_owned(), Node::Leaf(item["value"].as_str().unwrap_or_default().into())))
    };
    Node::Users(items.filter_map(pair).collect())
}

fn guest_attributes(state: &State, instance: &Path) -> Node {
    let mut namespaces: Vec<(String, Node)> = Vec::new();
    for (namespace, key, value) in state.guest.of(instance) {
        if namespaces.last().is_none_or(|(last, _)| last != namespace) {
            namespaces.push((namespace.to_owned(), Node::Users(Vec::new())));
        }
        if let Some((_, Node::Users(keys))) = namespaces.last_mut() {
            keys.push((key.to_owned(), Node::Leaf(value.into())));
        }
    }
    Node::Users(namespaces)
}

/// The service account twice, as Google tells it: by its address and as `default`.
fn accounts(body: &Map<String, Value>) -> Node {
    let Some(account) = body.get("serviceAccounts").and_then(|accounts| accounts.get(0)) else {
        return Node::Users(Vec::new());
    };
    let email = account["email"].as_str().unwrap_or_default();
    let told = Node::Folder(vec![
        ("aliases".into(), Node::Leaf(json!(["default"]))),
        ("email".into(), Node::Leaf(email.into())),
        ("scopes".into(), Node::Leaf(account.get("scopes").cloned().unwrap_or_else(|| json!([])))),
    ]);
    Node::Users(vec![(email.to_owned(), told.clone()), ("default".to_owned(), told)])
}

impl Node {
    pub(super) fn find(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match self {
            Self::Leaf(_) => None,
            _ if first.is_empty() && rest.is_empty() => Some(self),
            Self::Folder(entries) | Self::Users(entries) => {
                entries.iter().find(|(name, _)| name == first).and_then(|(_, node)| node.find(rest))
            }
            Self::List(items) => items.get(first.parse::<usize>().ok()?)?.find(rest),
        }
    }

    pub(super) fn is_folder(&self) -> bool {
        !matches!(self, Self::Leaf(_))
    }

    fn entries(&self) -> Vec<(String, &Self)> {
        match self {
            Self::Leaf(_) => Vec::new(),
            Self::Folder(entries) | Self::Users(entries) => {
                entries.iter().map(|(name, node)| (name.clone(), node)).collect()
            }
            Self::List(items) => items.iter().enumerate().map(|(index, node)| (index.to_string(), node)).collect(),
        }
    }

    /// A leaf's value, or the names in a folder, each folder with a slash.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Leaf(Value::String(text)) => text.clone(),
            // Lists of words stand one a line, but tags are JSON; both are so at Google.
            Self::Leaf(Value::Array(items))
                if items.iter().all(|item| item.as_str().is_some_and(|t| t.contains("://"))) =>
            {
                items.iter().filter_map(Value::as_str).map(|text| format!("{text}\n")).collect()
            }
            Self::Leaf(value) => value.to_string(),
            folder => {
                let slash = |node: &Self| if node.is_folder() { "/" } else { "" };
                folder.entries().iter().map(|(name, node)| format!("{name}{}\n", slash(node))).collect()
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Leaf(value) => value.clone(),
            Self::Folder(entries) => entries.iter().map(|(name, node)| (camel(name), node.json())).collect(),
            Self::Users(entries) => entries.iter().map(|(name, node)| (name.clone(), node.json())).collect(),
            Self::List(items) => items.iter().map(Self::json).collect(),
        }
    }

    /// Everything below as lines of path and value.
    pub(super) fn lines(&self) -> String {
        fn walk(node: &Node, path: &str, lines: &mut String) {
            for (name, child) in node.entries() {
                let path = if path.is_empty() { name } else { format!("{path}/{name}") };
                if child.is_folder() {
                    walk(child, &path, lines);
                } else {
                    lines.push_str(&format!("{path} {}\n", child.text()));
                }
            }
        }
        let mut lines = String::new();
        walk(self, "", &mut lines);
        if self.is_folder() { lines } else { self.text() }
    }

    /// Changes whenever anything below does.
    pub(super) fn etag(&self) -> String {
        let digest = md5::compute(self.json().to_string()).0;
        data_encoding::HEXLOWER.encode(&digest[..8])
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
