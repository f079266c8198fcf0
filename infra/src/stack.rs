//! What a person writes about one installation: `infra/stacks/NAME.toml`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::fault::{Fault, Faults, Source};
use crate::read;
use crate::resource::Name;

/// The first addresses of a subnet belong to Google, the next few are left for what people add by hand.
const FIRST_MANAGER: u32 = 10;
/// Names are made of the stack's and what a thing is for; the longest of both must fit into 63 characters.
const STACK_NAME_MAX: usize = 20;

/// One installation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stack {
    /// The beginning of every name.
    pub name: Name,
    /// For people; any text.
    pub description: String,
    /// The project of Google Cloud.
    pub project: String,
    /// Where it is.
    pub region: String,
    /// Managers and workers are spread over these.
    pub zones: Vec<String>,
    /// Where Google's services are, if they are not Google's.
    pub endpoints: Endpoints,
    /// The private network.
    pub network: NetworkSettings,
    /// The machines that vote.
    pub managers: Machines,
    /// The machines that work.
    pub workers: Machines,
    /// The bucket of the rules.
    pub scripts: Scripts,
}

/// Where each of Google's services is. `None` is Google's own, with the credentials of this machine; an endpoint of
/// one's own is talked to without credentials.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// All that are not named.
    pub all: Option<Url>,
    /// Cloud Storage.
    pub storage: Option<Url>,
    /// Pub/Sub.
    pub pubsub: Option<Url>,
    /// Compute Engine.
    pub compute: Option<Url>,
    /// Identity and Access Management.
    pub iam: Option<Url>,
    /// Resource Manager.
    pub resource_manager: Option<Url>,
    /// Secret Manager.
    pub secret_manager: Option<Url>,
}

/// `http://HOST:PORT` or `https://HOST`, without a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(String);

impl Url {
    /// Without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let trimmed = text.trim_end_matches('/');
        let uri = trimmed.parse::<http::Uri>().ok();
        let good = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/");
        if good {
            Ok(Self(trimmed.to_owned()))
        } else {
            Err(format!("`{text}` is no endpoint, expected a URL without a path, as in `http://127.0.0.1:8080`"))
        }
    }
}

/// The private network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSettings {
    /// Addresses of the machines, at least a /26.
    pub range: Ipv4Net,
    /// Bytes of the largest packet.
    pub mtu: u16,
    /// Who may open SSH connections: Google's Identity-Aware Proxy, unless said otherwise.
    pub ssh_from: Vec<Ipv4Net>,
    /// Who may call the executors.
    pub callers_from: Vec<Ipv4Net>,
    /// The port on which executors answer.
    pub callers_port: u16,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            range: Ipv4Net::new_assert(Ipv4Addr::new(10, 20, 0, 0), 20),
            mtu: 1500,
            ssh_from: vec![Ipv4Net::new_assert(Ipv4Addr::new(35, 235, 240, 0), 20)],
            callers_from: vec![Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8)],
            callers_port: 8080,
        }
    }
}

/// Machines of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machines {
    /// How many.
    pub count: u32,
    /// `e2-medium`.
    pub machine_type: String,
    /// What they boot.
    pub image: String,
    /// Their own disk.
    pub boot_disk_gb: u32,
    /// Managers: the disk with the state of the Swarm.
    pub data_disk_gb: u32,
}

impl Default for Machines {
    fn default() -> Self {
        Self {
            count: 3,
            machine_type: "e2-medium".into(),
            image: "projects/debian-cloud/global/images/family/debian-12".into(),
            boot_disk_gb: 20,
            data_disk_gb: 10,
        }
    }
}

/// The bucket of the rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scripts {
    /// Its name, if `PROJECT-STACK-scripts` is taken by somebody else in the world.
    pub bucket: Option<Name>,
    /// Overwritten scripts and releases are kept so long.
    pub keep_days: i32,
    /// And so many of each in any case.
    pub keep_newest: i32,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { bucket: None, keep_days: 90, keep_newest: 100 }
    }
}

/// The file as it is written: what has to be there is optional here, so that all that is missing is said at once.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<Spanned<Name>>,
    #[serde(default)]
    description: String,
    project: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    zones: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    endpoints: Endpoints,
    network: Option<Spanned<NetworkSettings>>,
    managers: Option<Spanned<Machines>>,
    workers: Option<Spanned<Machines>>,
    #[serde(default)]
    scripts: Scripts,
}

impl Stack {
    /// Reads a stack file, known as `file` to the person who wrote it.
    ///
    /// # Errors
    /// [`Faults`]: all of them.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let source = Source::new(file, text);
        let mut faults = Vec::new();
        let read = read::parse(&source, &mut faults)
            .and_then(|table| read::read::<File>(&source, table, &mut faults))
            .and_then(|file| file.check(&source, &mut faults));
        match read {
            Some(stack) if faults.is_empty() => Ok(stack),
            _ => Err(Faults::sorted(faults)),
        }
    }

    /// The bucket of the rules.
    pub fn scripts_bucket(&self) -> String {
        self.scripts
            .bucket
            .as_ref()
            .map_or_else(|| format!("{}-{}-scripts", self.project, self.name), ToString::to_string)
    }

    /// The bucket of what this engine knows.
    pub fn state_bucket(&self) -> String {
        format!("{}-{}-state", self.project, self.name)
    }

    /// The address of the manager with this number.
    pub fn manager_address(&self, ordinal: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network.range.network()) + FIRST_MANAGER + ordinal)
    }
}

/// A group of checks that need more than one value, or more than serde can say.
struct Check<'a> {
    source: &'a Arc<Source>,
    faults: &'a mut Vec<Fault>,
}

impl Check<'_> {
    fn that<T>(&mut self, value: &Spanned<T>, good: bool, message: impl Into<String>, expected: &str) {
        if !good {
            self.faults.push(Fault::new(self.source, value.span(), message).expected(expected));
        }
    }

    fn given<T>(&mut self, value: Option<Spanned<T>>, name: &str, expected: &str) -> Option<Spanned<T>> {
        if value.is_none() {
            self.faults.push(Fault::new(self.source, 0..0, format!("`{name}` is missing")).expected(expected));
        }
        value
    }

    /// A text out of the letters that Google's identifiers have.
    fn identifier(&mut self, value: &Spanned<String>, name: &str, example: &str) {
        let good = value.get_ref().parse::<Name>().is_ok();
        let message = format!("`{}` is no {name}", value.get_ref());
        self.that(value, good, message, &format!("lower-case letters, digits and dashes, as in `{example}`"));
    }
}

impl File {
    fn check(self, source: &Arc<Source>, faults: &mut Vec<Fault>) -> Option<Stack> {
        let mut check = Check { source, faults };
        let name = check.given(self.name, "name", "a short name, as in `name = \"production\"`");
        let project = check.given(self.project, "project", "the id of a project, as in `project = \"acme-rules\"`");
        let region = check.given(self.region, "region", "a region, as in `region = \"europe-west3\"`");
        let zones = check.given(self.zones, "zones", "zones of the region, as in `zones = [\"europe-west3-a\"]`");

        if let Some(name) = &name {
            let long = format!("`{}` is longer than {STACK_NAME_MAX} characters", name.get_ref());
            let good = name.get_ref().as_str().len() <= STACK_NAME_MAX;
            check.that(name, good, long, "a short name: every other name begins with it");
        }
        if let Some(project) = &project {
            check.identifier(project, "project", "acme-rules");
        }
        if let Some(region) = &region {
            check.identifier(region, "region", "europe-west3");
        }
        if let (Some(zones), Some(region)) = (&zones, &region) {
            check.that(zones, !zones.get_ref().is_empty(), "`zones` is empty", "at least one zone of the region");
            for zone in zones.get_ref() {
                let good = zone.parse::<Name>().is_ok() && zone.starts_with(&format!("{}-", region.get_ref()));
                let message = format!("`{zone}` is no zone of `{}`", region.get_ref());
                check.that(zones, good, message, &format!("zones like `{}-a`", region.get_ref()));
            }
        }
        if let Some(network) = &self.network {
            let settings = network.get_ref();
            let range = settings.range;
            let message = format!("`{range}` has no room for the machines");
            check.that(
                network,
                range.prefix_len() <= 26 && range.network() == range.addr(),
                message,
                "a /26 or larger, as in `range = \"10.20.0.0/20\"`",
            );
            let message = format!("an MTU of {} is not possible", settings.mtu);
            let expected = "1500 to 8896: the packets of the overlay network, of 1450 bytes, have to fit";
            check.that(network, (1500..=8896).contains(&settings.mtu), message, expected);
            let docker = Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 0, 0), 15);
            let overlaps = docker.contains(&range) || range.contains(&docker);
            check.that(
                network,
                !overlaps,
                format!("`{range}` is where the Swarm's own networks are"),
                "none of 172.30.0.0/15",
            );
        }
        for (machines, few, expected) in [
            (&self.managers, &[1, 3, 5][..], "1, 3 or 5: an even number survives no more than one less"),
            (&self.workers, &[][..], "at most 100"),
        ] {
            let Some(machines) = machines else { continue };
            let count = machines.get_ref().count;
            let good = if few.is_empty() { count <= 100 } else { few.contains(&count) };
            check.that(machines, good, format!("`count` is {count}"), expected);
            let machine_type = machines.get_ref().machine_type.parse::<Name>();
            check.that(machines, machine_type.is_ok(), "`machine_type` is no machine type", "one like `e2-medium`");
        }

        Some(Stack {
            name: name?.into_inner(),
            description: self.description,
            project: project?.into_inner(),
            region: region?.into_inner(),
            zones: zones?.into_inner(),
            endpoints: self.endpoints,
            network: self.network.map(Spanned::into_inner).unwrap_or_default(),
            managers: self.managers.map(Spanned::into_inner).unwrap_or_default(),
            workers: self.workers.map(Spanned::into_inner).unwrap_or_default(),
            scripts: self.scripts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_stack_has_three_managers_and_three_workers() {
        let text = "name = 'a'\nproject = 'p'\nregion = 'r'\nzones = ['r-a']";

        let stack = Stack::parse("a.toml", text).unwrap();

        assert_eq!((stack.managers.count, stack.workers.count), (3, 3));
        assert_eq!(stack.manager_address(2).to_string(), "10.20.0.12");
        assert_eq!(stack.scripts_bucket(), "p-a-scripts");
    }

    #[test]
    fn everything_wrong_with_a_stack_is_said_at_once() {
        let text = "name = 'Production'\ncolour = 'red'\nproject = 3\nzones = ['us-east1-b', 4]\n\
                    [endpoints]\nstorage = 'localhost'\n[managers]\ncount = 'three'\n[network]\nrange = '10.0.0.0'\n";

        insta::assert_snapshot!(Stack::parse("infra/stacks/x.toml", text).unwrap_err());
    }

    #[test]
    fn values_that_do_not_fit_each_other_are_said_at_once() {
        let text = "name = 'a-name-that-is-too-long-for-a-stack'\nregion = 'r'\nzones = ['q-a']\n\
                    [managers]\ncount = 2\n[network]\nrange = '10.0.0.0/28'\nmtu = 100\n";

        insta::assert_snapshot!(Stack::parse("infra/stacks/x.toml", text).unwrap_err());
    }

    #[test]
    fn the_stacks_of_the_repository_are_right() {
        for (name, text) in crate::render::STACKS {
            let stack = Stack::parse(name, text).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(format!("{}.toml", stack.name), *name);
        }
    }
}
