//! Policies: gated as scripts are, and shown with who set what.

use contract::Version;
use contract::api::PolicyAnswer;
use contract::policy::Layer;

use crate::world::World;

const OWN: &str = "return function() return { limits = { cpu = '7ms' } } end";
const STACK: &str = "return function() return { defaults = { limits = { wall = '9s' } } } end";
const SCRIPT: &str = "return { handle = function() end, limits = { memory = '2MiB' } }";

#[tokio::test]
async fn terms_are_shown_with_the_layer_that_set_them() {
    let world = World::start().await;
    world.push("@stack/@policy", STACK).await;
    world.push("acme/@policy", OWN).await;
    world.push("acme/risk", SCRIPT).await;

    let of_tenant: PolicyAnswer = world.get("/v1/tenants/acme/policy").await.body();
    let of_script: PolicyAnswer = world.get("/v1/tenants/acme/scripts/risk/policy").await.body();
    let of_other: PolicyAnswer = world.get("/v1/tenants/nobody-yet/policy").await.body();

    let terms = &of_tenant.effective;
    assert_eq!((terms.cpu.from, terms.wall.from), (Layer::Tenant, Layer::StackDefaults));
    assert_eq!(terms.memory.from, Layer::BuiltIn);
    assert_eq!(of_tenant.tenant_version, Some(Version::of(OWN.as_bytes())));
    assert_eq!(of_tenant.stack_version, Some(Version::of(STACK.as_bytes())));
    assert_eq!(of_script.effective.memory.to_string(), "2MiB (the script itself)");
    assert_eq!((of_other.effective.cpu.from, of_other.effective.wall.from), (Layer::BuiltIn, Layer::StackDefaults));
    assert_eq!(of_other.tenant_version, None);
}

#[tokio::test]
async fn what_is_no_policy_is_refused_with_its_field_and_changes_nothing() {
    let world = World::start().await;

    let answer = world.put("acme/@policy", "", "return function() return { limits = { cpu = 5 } } end").await;

    insta::assert_snapshot!(answer.problem(), @r#"
    422 script_refused: @policy.luau: `limits.cpu` is 5; expected a text such as "20ms" or "1s", at least 1ms
    hint: nothing was changed; `moonswarm policy check FILE` judges as the manager does
    at @policy.luau: `limits.cpu` is 5; expected a text such as "20ms" or "1s", at least 1ms
    "#);
    assert_eq!(world.get("/v1/tenants/acme/scripts/@policy").await.status, 404);

    let answer = world
        .put("@stack/@policy", "", "return function() return { defaults = { limits = { cpu = '1h' } } } end")
        .await;
    assert!(answer.problem().contains("the most there can be is 10s"), "{}", answer.problem());
}

#[tokio::test]
async fn other_names_with_an_at_sign_are_refused() {
    let world = World::start().await;

    for name in ["acme/@rule", "@others/risk"] {
        let problem = world.put(name, "", "return 1").await.problem();
        assert!(problem.starts_with("400 bad_request") && problem.contains("such names are reserved"), "{problem}");
    }
    let problem = world.get("/v1/tenants/acme/scripts/risk/policy").await.problem();
    assert!(problem.starts_with("404 unknown_tenant"), "{problem}");
}
