//! What a script declares about itself in the table that it returns, checked as far as the declaration alone goes.
//! Whether a tenant may have what it declares is for others to judge.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::Diagnostic;
use contract::ids::EventName;
use contract::units::{Size, Time};

use crate::call::State;
use crate::capability::Capability;
use crate::compile::Refusal;
use crate::layer::{Layer, NamePattern, ORDER_MAX, PATTERNS_MAX};
use crate::limits::{Bytes, Limits};
use crate::probe::{Declared, FIELDS, Sketch};

/// Tests of one script.
const TESTS_MAX: usize = 64;
/// Bytes of a test's name.
const TEST_NAME_BYTES_MAX: usize = 100;
/// Events that one script wants.
const EVENTS_MAX: usize = 64;
/// Hosts that one script wants to talk to.
const HOSTS_MAX: usize = 32;
/// Longest name of a host (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 253;
/// The least memory that is of use: a VM alone has 440 KiB.
const MEMORY_BYTES_MIN: usize = 1 << 20;
/// The most executions at once that a script may ask for.
const CONCURRENCY_MAX: u32 = 1000;
/// Events that are not sent but happen to every script: when a version begins to serve, replaces another, and ends.
const LIFE_CYCLE: [&str; 3] = ["OnReload", "OnShutdown", "OnStartup"];

/// What a script declares. The default is that of a handler and of the founding form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// It can be called.
    pub handle: bool,
    /// `on`: events it wants, in order.
    pub events: Vec<EventName>,
    /// It looks at calls before they are made.
    pub before: bool,
    /// It looks at results before they are given.
    pub after: bool,
    /// `middleware`: where it stands as one, and what it looks at.
    pub layer: Layer,
    /// Names of its tests, in the order in which they run.
    pub tests: Vec<String>,
    /// What it wants to be allowed beyond what every script may.
    pub capabilities: BTreeSet<Capability>,
    /// `http.hosts`, in order.
    pub http_hosts: Vec<String>,
    /// What it keeps between executions.
    pub state: State,
    /// Limits below those of its tenant.
    pub limits: OwnLimits,
}

/// Limits that a script sets itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// [`Limits::cpu`].
    pub cpu: Option<Duration>,
    /// [`Limits::wall`].
    pub wall: Option<Duration>,
    /// [`Limits::memory_bytes`].
    pub memory_bytes: Option<usize>,
    /// [`Limits::output_bytes`].
    pub output_bytes: Option<usize>,
    /// Executions at the same time.
    pub concurrency: Option<u32>,
}

impl OwnLimits {
    /// As a layer below a policy. `concurrency` is of the script alone, and no limit of its tenant.
    pub fn as_policy(&self) -> contract::policy::Limits {
        let time = |time: Option<Duration>| time.map(Time);
        let size = |bytes: Option<usize>| bytes.map(|bytes| Size(bytes as u64));
        contract::policy::Limits {
            cpu: time(self.cpu),
            wall: time(self.wall),
            memory: size(self.memory_bytes),
            output: size(self.output_bytes),
            ..contract::policy::Limits::default()
        }
    }

    /// `limits`, where these do not ask for less.
    pub fn narrow(&self, limits: &Limits) -> Limits {
        Limits {
            cpu: self.cpu.map_or(limits.cpu, |own| own.min(limits.cpu)),
            wall: self.wall.map_or(limits.wall, |own| own.min(limits.wall)),
            memory_bytes: self.memory_bytes.map_or(limits.memory_bytes, |own| own.min(limits.memory_bytes)),
            output_bytes: self.output_bytes.map_or(limits.output_bytes, |own| own.min(limits.output_bytes)),
            ..limits.clone()
        }
    }
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            handle: true,
            events: Vec::new(),
            before: false,
            after: false,
            layer: Layer::default(),
            tests: Vec::new(),
            capabilities: BTreeSet::new(),
            http_hosts: Vec::new(),
            state: State::Fresh,
            limits: OwnLimits::default(),
        }
    }
}

impl Manifest {
    /// Whether calls of other scripts go through it.
    pub fn is_middleware(&self) -> bool {
        self.before || self.after
    }

    /// Whether it has a function for `event`.
    pub fn wants(&self, event: &str) -> bool {
        self.events.binary_search_by(|wanted| wanted.as_str().cmp(event)).is_ok()
    }

    /// Reads what the script in `file` declares.
    ///
    /// # Errors
    /// [`Refusal`] with all that is wrong.
    pub(crate) fn read(file: &str, declared: &Declared) -> Result<Self, Refusal> {
        if !declared.is_table {
            return Ok(Self::default());
        }
        let mut faults = Faults::default();
        let mut manifest = Self { handle: false, ..Self::default() };
        if declared.too_much {
            faults.add("the table", "has more values than a manifest may have");
        }
        for (field, sketch) in &declared.fields {
            match *field {
                "handle" => manifest.handle = faults.function("handle", sketch),
                "before" => manifest.before = faults.function("before", sketch),
                "after" => manifest.after = faults.function("after", sketch),
                "middleware" => manifest.layer = layer(&mut faults, sketch),
                "on" => manifest.events = events(&mut faults, sketch),
                "tests" => manifest.tests = tests(&mut faults, sketch),
                "capabilities" => manifest.capabilities = capabilities(&mut faults, sketch),
                "http" => manifest.http_hosts = hosts(&mut faults, sketch),
                "state" => manifest.state = state(&mut faults, sketch),
                "limits" => manifest.limits = limits(&mut faults, sketch),
                _ => {}
            }
        }
        if !manifest.http_hosts.is_empty() && !manifest.capabilities.contains(&Capability::Http) {
            faults.add("`http`", "names hosts, but `capabilities` has no \"http\"");
        }
        if declared.fields.iter().any(|(field, _)| *field == "middleware") && !manifest.is_middleware() {
            faults.add("`middleware`", "says what is looked at, but there is neither `before` nor `after`");
        }
        for other in &declared.others {
            let meant = FIELDS.iter().find(|field| is_slip(field, other));
            if let Some(meant) = meant.filter(|meant| declared.fields.iter().all(|(field, _)| field != *meant)) {
                faults.add(
                    &format!("`{}`", other.escape_debug()),
                    &format!("means nothing; is it meant to be `{meant}`?"),
                );
            }
        }
        faults.refuse(file).map_or(Ok(manifest), Err)
    }
}

/// What is wrong, one sentence each.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, what: &str, fault: &str) {
        self.0.push(format!("{what} {fault}"));
    }

    /// `field` is what `sketch` is, which is not `expected`.
    fn wrong(&mut self, field: &str, sketch: &Sketch, expected: &str) {
        self.add(&format!("`{field}`"), &format!("is {}; expected {expected}", describe(sketch)));
    }

    fn function(&mut self, field: &str, sketch: &Sketch) -> bool {
        let is_function = *sketch == Sketch::Function;
        if !is_function {
            self.wrong(field, sketch, "a function");
        }
        is_function
    }

    /// The entries of a table.
    fn table<'s>(&mut self, field: &str, sketch: &'s Sketch, expected: &str) -> &'s [(Sketch, Sketch)] {
        match sketch {
            Sketch::Table(entries) => entries,
            other => {
                self.wrong(field, other, expected);
                &[]
            }
        }
    }

    /// The texts of a list.
    fn texts<'s>(&mut self, field: &str, sketch: &'s Sketch, expected: &str) -> Vec<&'s str> {
        let mut texts = Vec::new();
        for (key, value) in self.table(field, sketch, expected) {
            match (key, value) {
                (Sketch::Number(_), Sketch::Text(text)) => texts.push(text.as_str()),
                (Sketch::Number(index), other) => self.wrong(&format!("{field}[{index}]"), other, "a text"),
                (key, _) => self.wrong_key(field, key, expected),
            }
        }
        texts
    }

    fn wrong_key(&mut self, field: &str, key: &Sketch, expected: &str) {
        self.add(&format!("`{field}`"), &format!("has {} as key; expected {expected}", describe(key)));
    }

    fn refuse(mut self, file: &str) -> Option<Refusal> {
        // Tables come in no particular order.
        self.0.sort_unstable();
        let refusals = self.0.into_iter().map(|message| {
            let diagnostic = Diagnostic { file: file.to_owned(), line: 0, column: None, message };
            let mut refusal = Refusal::script(diagnostic.to_string());
            refusal.diagnostics.push(diagnostic);
            refusal
        });
        Refusal::all(refusals.collect())
    }
}

/// A value in words.
fn describe(sketch: &Sketch) -> String {
    match sketch {
        Sketch::Boolean(value) => value.to_string(),
        Sketch::Number(value) => format!("the number {value}"),
        Sketch::Text(text) => format!("{text:?}"),
        Sketch::Function => "a function".to_owned(),
        Sketch::Table(_) => "a table".to_owned(),
        Sketch::Other(name) => (*name).to_owned(),
        Sketch::TooMuch => "too long or nested too deeply".to_owned(),
    }
}

fn events(faults: &mut Faults, sketch: &Sketch) -> Vec<EventName> {
    let expected = "a table of functions by event, such as `[\"order.created\"] = function(event, ctx) … end`";
    let mut events = Vec::new();
    for (key, value) in faults.table("on", sketch, expected) {
        let Sketch::Text(name) = key else {
            faults.wrong_key("on", key, expected);
            continue;
        };
        let field = format!("on[{name:?}]");
        match name.parse::<EventName>() {
            Err(err) => faults.add(&format!("`{field}`"), &format!("is no event: {err}")),
            Ok(event) if event.is_life_cycle() && !LIFE_CYCLE.contains(&name.as_str()) => {
                faults.add(
                    &format!("`{field}`"),
                    &format!("is no event of the life cycle; there are {}", LIFE_CYCLE.join(", ")),
                );
            }
            Ok(event) if faults.function(&field, value) => events.push(event),
            Ok(_) => {}
        }
    }
    if events.len() > EVENTS_MAX {
        faults.add("`on`", &format!("has {} events, the most allowed is {EVENTS_MAX}", events.len()));
    }
    events.sort_unstable();
    events
}

fn layer(faults: &mut Faults, sketch: &Sketch) -> Layer {
    let expected = "some of `order`, `scripts`, `tenants`";
    let mut layer = Layer::default();
    for (key, value) in faults.table("middleware", sketch, expected) {
        let name = if let Sketch::Text(name) = key { name.as_str() } else { "" };
        match name {
            "order" => layer.order = order(faults, value),
            "scripts" => layer.scripts = patterns(faults, "middleware.scripts", value),
            "tenants" => layer.tenants = patterns(faults, "middleware.tenants", value),
            _ => faults.wrong_key("middleware", key, expected),
        }
    }
    layer
}

fn order(faults: &mut Faults, sketch: &Sketch) -> i32 {
    let order = match sketch {
        Sketch::Number(number) => (-ORDER_MAX..=ORDER_MAX).find(|order| f64::from(*order) == *number),
        _ => None,
    };
    if order.is_none() {
        faults.wrong("middleware.order", sketch, &format!("a whole number from -{ORDER_MAX} to {ORDER_MAX}"));
    }
    order.unwrap_or_default()
}

fn patterns(faults: &mut Faults, field: &str, sketch: &Sketch) -> Option<Vec<NamePattern>> {
    let mut patterns = Vec::new();
    for text in faults.texts(field, sketch, "a list such as `{ \"risk\", \"loan-*\" }`") {
        match NamePattern::parse(text) {
            Some(pattern) => patterns.push(pattern),
            None => faults.add(
                &format!("`{field}`"),
                &format!("has {text:?}; expected a name, or the begin of names and `*`, such as \"loan-*\""),
            ),
        }
    }
    if matches!(sketch, Sketch::Table(entries) if entries.is_empty()) {
        faults.add(&format!("`{field}`"), "is empty, so nothing would be looked at; leave it out to look at all");
    }
    if patterns.len() > PATTERNS_MAX {
        faults.add(&format!("`{field}`"), &format!("has {} names, the most allowed is {PATTERNS_MAX}", patterns.len()));
    }
    Some(patterns)
}

fn tests(faults: &mut Faults, sketch: &Sketch) -> Vec<String> {
    let expected = "a table of functions by name, such as `[\"no price, no total\"] = function(t) … end`";
    let mut tests = Vec::new();
    for (key, value) in faults.table("tests", sketch, expected) {
        let name = match key {
            Sketch::Text(name) if name.len() <= TEST_NAME_BYTES_MAX && !name.chars().any(char::is_control) => {
                name.clone()
            }
            Sketch::Number(index) => index.to_string(),
            key => {
                faults.wrong_key("tests", key, &format!("a name of at most {TEST_NAME_BYTES_MAX} bytes"));
                continue;
            }
        };
        if faults.function(&format!("tests[{name:?}]"), value) {
            tests.push(name);
        }
    }
    if tests.len() > TESTS_MAX {
        faults.add("`tests`", &format!("has {} tests, the most allowed is {TESTS_MAX}", tests.len()));
    }
    // Those of a list by number, all others by name.
    tests.sort_by_cached_key(|name| (name.parse::<u32>().unwrap_or(u32::MAX), name.clone()));
    tests
}

fn capabilities(faults: &mut Faults, sketch: &Sketch) -> BTreeSet<Capability> {
    let names = Capability::ALL.map(Capability::as_str).join(", ");
    let mut capabilities = BTreeSet::new();
    for name in faults.texts("capabilities", sketch, "a list such as `{ \"http\", \"run\" }`") {
        match Capability::named(name) {
            Some(capability) => drop(capabilities.insert(capability)),
            None => faults.add("`capabilities`", &format!("has {name:?}, which is none; there are {names}")),
        }
    }
    capabilities
}

fn hosts(faults: &mut Faults, sketch: &Sketch) -> Vec<String> {
    let expected = "a table such as `{ hosts = { \"api.example.com\" } }`";
    let mut hosts = Vec::new();
    for (key, value) in faults.table("http", sketch, expected) {
        if *key != Sketch::Text("hosts".to_owned()) {
            faults.wrong_key("http", key, expected);
            continue;
        }
        for host in faults.texts("http.hosts", value, "a list such as `{ \"api.example.com\" }`") {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
            let parts = host.split('.').all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-'));
            if parts && host.len() <= HOST_BYTES_MAX && host.chars().all(plain) {
                hosts.push(host.to_owned());
            } else {
                let expected = "in lower case, without scheme, port and path, such as \"api.example.com\"";
                faults.add("`http.hosts`", &format!("has {host:?}; expected the name of a host {expected}"));
            }
        }
    }
    if hosts.len() > HOSTS_MAX {
        faults.add("`http.hosts`", &format!("has {} hosts, the most allowed is {HOSTS_MAX}", hosts.len()));
    }
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

fn state(faults: &mut Faults, sketch: &Sketch) -> State {
    let states = [("fresh", State::Fresh), ("pooled", State::Pooled), ("tenant", State::Tenant)];
    let named = |name: &str| states.iter().find(|(known, _)| *known == name).map(|&(_, state)| state);
    match sketch {
        Sketch::Text(name) if named(name).is_some() => named(name).unwrap_or_default(),
        other => {
            faults.wrong("state", other, "\"fresh\", \"pooled\" or \"tenant\"");
            State::Fresh
        }
    }
}

fn limits(faults: &mut Faults, sketch: &Sketch) -> OwnLimits {
    let expected = "some of `cpu`, `wall`, `memory`, `output`, `concurrency`";
    let mut limits = OwnLimits::default();
    for (key, value) in faults.table("limits", sketch, expected) {
        let name = if let Sketch::Text(name) = key { name.as_str() } else { "" };
        match name {
            "cpu" => limits.cpu = time(faults, "limits.cpu", value),
            "wall" => limits.wall = time(faults, "limits.wall", value),
            "memory" => limits.memory_bytes = size(faults, "limits.memory", value, MEMORY_BYTES_MIN),
            "output" => limits.output_bytes = size(faults, "limits.output", value, 1),
            "concurrency" => limits.concurrency = count(faults, "limits.concurrency", value),
            _ => faults.wrong_key("limits", key, expected),
        }
    }
    limits
}

fn time(faults: &mut Faults, field: &str, sketch: &Sketch) -> Option<Duration> {
    let time = if let Sketch::Text(text) = sketch { Time::parse(text).map(|time| time.0) } else { None };
    if time.is_none() {
        faults.wrong(field, sketch, "a text such as \"20ms\" or \"1s\", at least 1ms");
    }
    time
}

fn size(faults: &mut Faults, field: &str, sketch: &Sketch, least: usize) -> Option<usize> {
    let bytes = if let Sketch::Text(text) = sketch { bytes(text) } else { None };
    let bytes = bytes.filter(|bytes| *bytes >= least);
    if bytes.is_none() {
        faults.wrong(field, sketch, &format!("a text such as \"512KiB\" or \"8MiB\", at least {}", Bytes(least)));
    }
    bytes
}

/// Reads `512B`, `512KiB`, `8MiB`, as policies do.
fn bytes(text: &str) -> Option<usize> {
    Size::parse(text).map(Size::bytes)
}

fn count(faults: &mut Faults, field: &str, sketch: &Sketch) -> Option<u32> {
    let count = match sketch {
        Sketch::Number(number) => (1..=CONCURRENCY_MAX).find(|count| f64::from(*count) == *number),
        _ => None,
    };
    if count.is_none() {
        faults.wrong(field, sketch, &format!("a whole number from 1 to {CONCURRENCY_MAX}"));
    }
    count
}

/// Whether `word` is `name` but for its case, or for one letter too many, too few, or another.
fn is_slip(name: &str, word: &str) -> bool {
    let (name, word) = (name.as_bytes(), word.to_ascii_lowercase().into_bytes());
    if name == word {
        return true;
    }
    let (short, long) = if name.len() <= word.len() { (name, &word[..]) } else { (&word[..], name) };
    // Two letters are one slip away from too many words.
    if short.len() < 4 || long.len() - short.len() > 1 {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(a, b)| a == b).count();
    let skip = usize::from(short.len() == long.len());
    short[same + skip..] == long[same + 1..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_one_letter_and_nothing_more() {
        for (name, word) in [
            ("tests", "test"),
            ("handle", "handler"),
            ("limits", "limit"),
            ("state", "State"),
            ("before", "befor"),
            ("after", "afterr"),
            ("capabilities", "capabilites"),
            ("limits", "limots"),
        ] {
            assert!(is_slip(name, word), "{name} {word}");
        }
        for (name, word) in [("tests", "texts2"), ("on", "no"), ("http", "html5"), ("handle", "panda"), ("on", "one")] {
            assert!(!is_slip(name, word), "{name} {word}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        let read = ["8MiB", "512 KiB", "100B", "1GiB", "8MB", "8", "-1MiB", "99999999999GiB"].map(bytes);

        assert_eq!(read, [Some(8 << 20), Some(512 << 10), Some(100), Some(1 << 30), None, None, None, None]);
    }

    #[test]
    fn a_script_sets_itself_lower_limits_but_no_higher_ones() {
        let own = OwnLimits { cpu: Some(Duration::from_millis(20)), wall: Some(Duration::MAX), ..OwnLimits::default() };

        let narrow = own.narrow(&Limits::default());

        assert_eq!(narrow.cpu, Duration::from_millis(20));
        assert_eq!(narrow.wall, Limits::default().wall);
    }
}
