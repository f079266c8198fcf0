//! policy push, policy show, policy check.

use contract::api::{Activation, ChangeAnswer, PolicyAnswer};
use contract::policy::Effective;
use contract::{ScriptName, TenantName, Version};

use super::fake::{Fake, Reply};
use super::program::{Files, moonswarm, project};

fn changed(tenant: TenantName) -> Reply {
    Reply::json(&ChangeAnswer {
        tenant,
        script: ScriptName::policy(),
        version: Some(Version::of(b"abc")),
        generation: Some(7),
        release: 417,
        unchanged: false,
        activation: Activation::Live,
        live: None,
    })
}

#[test]
fn a_policy_is_checked_and_pushed_as_a_script_of_its_tenant() {
    let fake = Fake::answering([changed("acme".parse().unwrap())]);

    let said = moonswarm("policy push --tenant acme").arg(project("examples/policy/tenant.luau")).manager(&fake).run();

    assert_eq!(said.exit, 0, "{said}");
    assert_eq!(fake.asked_once().line, "PUT /v1/tenants/acme/scripts/@policy?activation=live");
}

#[test]
fn the_operators_policy_is_one_of_the_stack_whatever_the_environment_says() {
    let fake = Fake::answering([changed(TenantName::stack())]);

    let said = moonswarm("policy push --stack")
        .arg(project("examples/policy/stack.luau"))
        .env("MOONSWARM_TENANT", "acme")
        .manager(&fake)
        .run();

    assert_eq!(said.exit, 0, "{said}");
    assert_eq!(fake.asked_once().line, "PUT /v1/tenants/@stack/scripts/@policy?activation=live");
}

#[test]
fn what_is_no_policy_is_not_sent() {
    let files = Files::new(&[("policy.luau", "return function() return { limits = { cpu = 20 } } end")]);
    let fake = Fake::answering([]);

    insta::assert_snapshot!(moonswarm("policy push policy.luau --tenant acme").manager(&fake).within(&files).run(), @r#"
    exit 3
    ---- stderr
    error: policy.luau: `limits.cpu` is 20; expected a text such as "20ms" or "1s", at least 1ms
      --> policy.luau

    hint: nothing was sent and nothing changed; correct the script and push again
    "#);
    insta::assert_snapshot!(moonswarm("push policy.luau --name @policy --tenant acme").manager(&fake).within(&files).run(), @r#"
    exit 3
    ---- stderr
    error: policy.luau: `limits.cpu` is 20; expected a text such as "20ms" or "1s", at least 1ms
      --> policy.luau

    hint: nothing was sent and nothing changed; correct the script and push again
    "#);
    insta::assert_snapshot!(moonswarm("policy check policy.luau --stack").within(&files).run(), @"
    exit 3
    ---- stderr
    error: policy.luau: `limits`: unknown field `limits`, expected `defaults` or `tenants`
      --> policy.luau
    ");
}

#[test]
fn a_policy_that_holds_is_told_with_its_version() {
    let files = Files::new(&[("policy.luau", "return function() return {} end")]);

    insta::assert_snapshot!(moonswarm("policy check policy.luau").within(&files).run(), @"
    exit 0
    ---- stdout
    ok policy.luau version df781e2115d4, a tenant's policy
    ");
    let said = moonswarm("policy check policy.luau --stack --json").within(&files).run();
    assert_eq!(said.json()["tenants"], 0);
}

#[test]
fn terms_are_shown_with_who_set_them() {
    let answer = PolicyAnswer {
        release: 417,
        tenant: "acme".parse().unwrap(),
        script: Some("risk".parse().unwrap()),
        stack_version: None,
        tenant_version: None,
        effective: Effective::default(),
    };
    let fake = Fake::answering([Reply::json(&answer)]);

    insta::assert_snapshot!(moonswarm("policy show --tenant acme --script risk").manager(&fake).run(), @"
    exit 0
    ---- stdout
    TERM          VALUE                      SET BY
    CPU time      50ms                       built in
    wall time     2s                         built in
    memory        20MiB                      built in
    input         1MiB                       built in
    output        1MiB                       built in
    log           64KiB                      built in
    at once       64                         built in
    waiting       128                        built in
    callers wait  1m                         built in
    rate          any                        built in
    capabilities  all                        built in
    states        all                        built in
    hosts         those that executors open  built in

    terms of acme/risk in release 417
    ");
    assert_eq!(fake.asked_once().line, "GET /v1/tenants/acme/scripts/risk/policy");
}
