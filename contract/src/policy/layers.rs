//! Which layers there are for a tenant, and what they come to.

use super::{Effective, Layer, Policy, StackPolicy};
use crate::ids::TenantName;

/// All that is said about a tenant, by whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layers<'a> {
    /// By the operator.
    pub stack: Option<&'a StackPolicy>,
    /// By the tenant itself.
    pub own: Option<&'a Policy>,
}

impl Layers<'_> {
    /// The terms of `tenant`'s scripts.
    pub fn merge(&self, tenant: &TenantName) -> Effective {
        let mut effective = Effective::default();
        if let Some(stack) = self.stack {
            effective = effective.replaced(&stack.defaults, Layer::StackDefaults);
            if let Some(of_tenant) = stack.tenants.get(tenant) {
                effective = effective.replaced(of_tenant, Layer::StackTenant);
            }
        }
        match self.own {
            Some(own) => effective.narrowed(own, Layer::Tenant),
            None => effective,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::{Rate, Set};
    use crate::units::{Size, Time};

    fn acme() -> TenantName {
        "acme".parse().unwrap()
    }

    fn policy(json: &str) -> Policy {
        serde_json::from_str(json).unwrap()
    }

    fn stack(defaults: &str, of_acme: &str) -> StackPolicy {
        StackPolicy { defaults: policy(defaults), tenants: [(acme(), policy(of_acme))].into() }
    }

    fn merge(stack: &StackPolicy, own: &str) -> Effective {
        Layers { stack: Some(stack), own: Some(&policy(own)) }.merge(&acme())
    }

    #[test]
    fn without_a_policy_all_is_built_in() {
        let effective = Layers::default().merge(&acme());

        assert_eq!(effective, Effective::default());
        assert_eq!(effective.cpu.to_string(), "50ms (built in)");
    }

    #[test]
    fn each_value_is_from_the_layer_that_said_it() {
        let cases = [
            ("{}", "{}", "{}", 50, Layer::BuiltIn),
            (r#"{"limits":{"cpu":"30ms"}}"#, "{}", "{}", 30, Layer::StackDefaults),
            (r#"{"limits":{"cpu":"30ms"}}"#, r#"{"limits":{"cpu":"80ms"}}"#, "{}", 80, Layer::StackTenant),
            (r#"{"limits":{"cpu":"30ms"}}"#, r#"{"limits":{"wall":"9s"}}"#, "{}", 30, Layer::StackDefaults),
            ("{}", r#"{"limits":{"cpu":"80ms"}}"#, r#"{"limits":{"cpu":"70ms"}}"#, 70, Layer::Tenant),
            ("{}", r#"{"limits":{"cpu":"80ms"}}"#, r#"{"limits":{"cpu":"9s"}}"#, 80, Layer::StackTenant),
            ("{}", "{}", r#"{"limits":{"cpu":"9s"}}"#, 50, Layer::BuiltIn),
            ("{}", "{}", r#"{"limits":{"cpu":"50ms"}}"#, 50, Layer::BuiltIn),
            ("{}", r#"{"limits":{"cpu":"1h"}}"#, "{}", 10_000, Layer::StackTenant),
        ];

        for (defaults, of_acme, own, millis, from) in cases {
            let effective = merge(&stack(defaults, of_acme), own);
            let expected = Set { value: Time::from_millis(millis), from };
            assert_eq!(effective.cpu, expected, "{defaults} {of_acme} {own}");
        }
    }

    #[test]
    fn an_entry_for_another_tenant_changes_nothing() {
        let stack = stack("{}", r#"{"limits":{"cpu":"1s"},"rate":{"per_second":1}}"#);

        assert_eq!(Layers { stack: Some(&stack), own: None }.merge(&"zoo".parse().unwrap()), Effective::default());
    }

    #[test]
    fn rates_are_the_slowest_of_what_is_said() {
        let rate = |stack: &StackPolicy, own: &str| merge(stack, own).rate.map(|rate| (rate.value, rate.from));
        let operators = stack(r#"{"rate":{"per_second":100,"burst":5}}"#, "{}");

        assert_eq!(rate(&stack("{}", "{}"), "{}"), None);
        assert_eq!(
            rate(&stack("{}", "{}"), r#"{"rate":{"per_second":2.5}}"#),
            Some((Rate { per_second: 2.5, burst: 3 }, Layer::Tenant))
        );
        assert_eq!(
            rate(&operators, r#"{"rate":{"per_second":200,"burst":900}}"#),
            Some((Rate { per_second: 100.0, burst: 5 }, Layer::StackDefaults))
        );
        assert_eq!(
            rate(&operators, r#"{"rate":{"per_second":20}}"#),
            Some((Rate { per_second: 20.0, burst: 5 }, Layer::Tenant))
        );
        let scripts = merge(&operators, r#"{"scripts":{"risk":{"rate":{"per_second":1}}}}"#).script_rates;
        assert_eq!(scripts["risk"].value, Rate { per_second: 1.0, burst: 1 });
    }

    #[test]
    fn lists_have_what_all_layers_have_and_hosts_are_asked_of_each_list() {
        let operators = stack(r#"{"capabilities":["log","http"],"hosts":["*.example.com"]}"#, "{}");

        let effective = merge(&operators, r#"{"capabilities":["log","run"],"hosts":["api.example.com"],"states":{}}"#);

        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(effective.capabilities, Some(Set { value: names(&["log"]), from: Layer::Tenant }));
        assert_eq!(effective.states, Some(Set { value: names(&[]), from: Layer::Tenant }));
        let lists: Vec<_> = effective.hosts.iter().map(|list| (list.value.clone(), list.from)).collect();
        assert_eq!(
            lists,
            [(names(&["*.example.com"]), Layer::StackDefaults), (names(&["api.example.com"]), Layer::Tenant)]
        );
    }

    /// Policies of random content, always the same ones.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }

        fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
            (self.below(3) > 0).then(|| value(self))
        }

        fn names(&mut self) -> Option<BTreeSet<String>> {
            self.maybe(|random| ["a", "b", "c"].into_iter().filter(|_| random.below(2) > 0).map(Into::into).collect())
        }

        fn few(&mut self) -> u32 {
            u32::try_from(self.below(9)).unwrap()
        }

        fn rate(&mut self) -> Option<Rate> {
            self.maybe(|random| Rate { per_second: 1.0 + f64::from(random.few()), burst: 1 + random.few() })
        }

        fn policy(&mut self) -> Policy {
            let time = |random: &mut Self| random.maybe(|random| Time::from_millis(1 + random.below(20_000)));
            let size = |random: &mut Self| random.maybe(|random| Size((1 << 20) + random.below(1 << 29)));
            Policy {
                limits: crate::policy::Limits {
                    cpu: time(self),
                    wall: time(self),
                    memory: size(self),
                    input: size(self),
                    output: size(self),
                    log: size(self),
                },
                concurrency: self.maybe(|random| 1 + random.few()),
                queue: self.maybe(|random| random.few()),
                wait: time(self),
                rate: self.rate(),
                scripts: [("x".parse().unwrap(), crate::policy::OfScript { rate: self.rate() })].into(),
                capabilities: self.names(),
                hosts: self.names(),
                states: self.names(),
            }
        }
    }

    fn within(below: &Effective, above: &Effective) {
        let numbers = |all: &Effective| {
            let sizes = [all.memory, all.input, all.output, all.log].map(|size| size.value.0);
            let times = [all.cpu, all.wall, all.wait].map(|time| u64::try_from(time.value.0.as_nanos()).unwrap());
            let counts = [all.concurrency, all.queue].map(|count| u64::from(count.value));
            [&sizes[..], &times[..], &counts[..]].concat()
        };
        for (below, above) in numbers(below).into_iter().zip(numbers(above)) {
            assert!(below <= above);
        }
        let x = &"x".parse::<crate::ScriptName>().unwrap();
        for (below, above) in
            [(below.rate, above.rate), (below.script_rates.get(x).copied(), above.script_rates.get(x).copied())]
        {
            if let Some(above) = above {
                let below = below.expect("a rate does not go away").value;
                assert!(below.per_second <= above.value.per_second && below.burst <= above.value.burst);
            }
        }
        for (below, above) in [(&below.capabilities, &above.capabilities), (&below.states, &above.states)] {
            if let Some(above) = above {
                assert!(below.as_ref().expect("a list does not go away").value.is_subset(&above.value));
            }
        }
        assert!(below.hosts.starts_with(&above.hosts));
    }

    #[test]
    fn whatever_is_said_below_the_operator_only_narrows_and_nothing_is_above_the_caps() {
        let mut random = Random(0x5eed);
        for _ in 0..2_000 {
            let stack = StackPolicy { defaults: random.policy(), tenants: [(acme(), random.policy())].into() };
            let operators = Layers { stack: Some(&stack), own: None }.merge(&acme());
            let (own, script) = (random.policy(), random.policy());
            let merged = Layers { stack: Some(&stack), own: Some(&own) }.merge(&acme());

            within(&merged, &operators);
            within(&merged.clone().narrowed(&script, Layer::Script), &merged);
            // Twice the same says nothing more.
            assert_eq!(merged.clone().narrowed(&own, Layer::Script), merged);
            within(
                &Effective { rate: None, capabilities: None, states: None, ..merged },
                &Effective { hosts: Vec::new(), ..Effective::caps() },
            );
        }
    }
}
