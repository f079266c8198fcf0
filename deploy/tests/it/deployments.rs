//! What a deployment does, and what it leaves when it fails.

use std::time::Duration;

use deploy::image::{ImageArchive, archive};
use deploy::{Applied, DeployError, Event, Product, Session, Who, chain};
use serde_json::json;

use super::engine::{Engine, Faults, product};

fn who() -> Who {
    Who { holder: "ana@desk".into(), message: "apply".into() }
}

async fn apply(engine: &Engine, product: &Product) -> Result<Applied, DeployError> {
    let cluster = engine.cluster().await;
    Session::new(&cluster, "blue", &|_: Event| ()).apply(product, &[], &who()).await
}

async fn rollback(engine: &Engine, number: Option<u64>) -> Result<Applied, DeployError> {
    let cluster = engine.cluster().await;
    Session::new(&cluster, "blue", &|_: Event| ()).rollback(number, Duration::from_secs(20), None, &who()).await
}

fn executor_image(engine: &Engine) -> String {
    let world = engine.world();
    let service = world.services.values().find(|it| it["Spec"]["Name"] == "blue-executor").unwrap();
    service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"].as_str().unwrap().to_owned()
}

fn changes(engine: &Engine) -> Vec<String> {
    std::mem::take(&mut engine.world().changes)
}

#[tokio::test]
async fn the_first_deployment_makes_services_in_order_and_the_second_does_nothing() {
    let engine = Engine::start();

    let first = apply(&engine, &product("1")).await.unwrap();

    assert_eq!((first.changed.len(), first.deployment), (2, 1));
    assert_eq!(changes(&engine), ["create blue-manager", "create blue-executor"]);
    assert!(engine.world().commands.contains(&"/bin/moonswarm-executor health".to_owned()));
    assert_eq!(engine.world().secrets.len(), 4);

    let second = apply(&engine, &product("1")).await.unwrap();

    assert_eq!((second.changed, second.deployment), (vec![], 1));
    assert_eq!(changes(&engine), Vec::<String>::new());
}

#[tokio::test]
async fn images_go_only_where_they_are_not() {
    let engine = Engine::start();
    let layer = archive::Layer::new().finish().unwrap();
    let image = ImageArchive::new("localhost/moonswarm-executor", None, layer, &archive::Start::default()).unwrap();
    let cluster = engine.cluster().await;
    let session = Session::new(&cluster, "blue", &|_: Event| ());

    for _ in 0..2 {
        session.apply(&product("1"), std::slice::from_ref(&image), &who()).await.unwrap();
    }

    assert_eq!(engine.world().images, [image.tag()]);
}

#[tokio::test]
async fn an_update_that_somebody_overtook_is_made_again() {
    let engine = Engine::start();
    apply(&engine, &product("1")).await.unwrap();
    engine.world().faults.out_of_sequence = 3;

    let applied = apply(&engine, &product("2")).await.unwrap();

    assert_eq!(applied.deployment, 2);
    assert_eq!(executor_image(&engine), "localhost/moonswarm-executor:2");
}

#[tokio::test]
async fn tasks_that_swarm_failed_or_no_node_takes_or_that_do_not_work_are_taken_back() {
    let bad = || Some("localhost/moonswarm-executor:2".to_owned());
    for (faults, words) in [
        (Faults { rolled_back: bad(), ..Faults::default() }, "was taken back by Swarm; so it went"),
        (Faults { pending: bad(), ..Faults::default() }, "no node takes (2 wait): no suitable node"),
        (Faults { unready: bad(), ..Faults::default() }, "`health` ended with 1: said so"),
    ] {
        let engine = Engine::start();
        apply(&engine, &product("1")).await.unwrap();
        engine.world().faults = faults;
        let mut next = product("2");
        next.settings.deadline = Duration::from_secs(12);
        next.manager_image = "localhost/moonswarm-manager:2".into();

        let err = apply(&engine, &next).await.unwrap_err();

        assert_eq!(err.exit_code(), 5, "{}", chain(&err));
        assert!(chain(&err).contains(words), "{}", chain(&err));
        assert_eq!(executor_image(&engine), "localhost/moonswarm-executor:1");
        let manager = engine.world().services.values().find(|it| it["Spec"]["Name"] == "blue-manager").unwrap().clone();
        let image = &manager["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"];
        assert_eq!(image, "localhost/moonswarm-manager:1", "what went well before the failure is taken back too");
    }
}

#[tokio::test]
async fn a_first_deployment_that_fails_leaves_what_explains_it() {
    let engine = Engine::start();
    engine.world().faults.unready = Some("localhost/moonswarm-executor:1".into());
    let mut first = product("1");
    first.settings.deadline = Duration::from_secs(2);

    let err = apply(&engine, &first).await.unwrap_err();

    assert!(matches!(err, DeployError::NothingBefore { .. }), "{}", chain(&err));
    assert_eq!((err.exit_code(), engine.world().services.len()), (1, 2));
}

#[tokio::test]
async fn the_running_rules_survive_deployments_and_rollbacks() {
    let engine = Engine::start();
    apply(&engine, &product("1")).await.unwrap();
    let rules = json!({ "ConfigID": "r7", "ConfigName": "moonswarm-blue-7", "File": { "Name": "/config/logic.lua" } });
    let configs = |engine: &Engine| {
        let world = engine.world();
        let service = world.services.values().find(|it| it["Spec"]["Name"] == "blue-executor").unwrap();
        service["Spec"]["TaskTemplate"]["ContainerSpec"]["Configs"].as_array().unwrap().clone()
    };
    for service in engine.world().services.values_mut().filter(|it| it["Spec"]["Name"] == "blue-executor") {
        let configs = &mut service["Spec"]["TaskTemplate"]["ContainerSpec"]["Configs"];
        configs.as_array_mut().unwrap().push(rules.clone());
    }

    apply(&engine, &product("2")).await.unwrap();
    assert!(configs(&engine).contains(&rules));
    engine.world().images =
        ["localhost/moonswarm-manager:1", "localhost/moonswarm-executor:1"].map(str::to_owned).into();
    rollback(&engine, None).await.unwrap();

    assert!(configs(&engine).contains(&rules));
    assert_eq!(executor_image(&engine), "localhost/moonswarm-executor:1");
}

#[tokio::test]
async fn five_deployments_are_kept_and_others_are_not_gone_back_to() {
    let engine = Engine::start();
    for version in 1..=7 {
        apply(&engine, &product(&version.to_string())).await.unwrap();
    }
    let cluster = engine.cluster().await;
    let session = Session::new(&cluster, "blue", &|_: Event| ());

    let kept: Vec<u64> = session.records().await.unwrap().iter().map(|record| record.number).collect();

    assert_eq!(kept, [7, 6, 5, 4, 3]);
    let err = rollback(&engine, Some(2)).await.unwrap_err();
    insta::assert_snapshot!(err, @"there is no deployment 2 to go back to; kept are: 7, 6, 5, 4, 3");
    let err = rollback(&engine, Some(3)).await.unwrap_err();
    assert!(err.to_string().contains("does not have image `localhost/moonswarm-manager:1`"), "{err}");
}

#[tokio::test]
async fn a_second_deployment_at_the_same_time_is_refused_until_the_first_is_dead() {
    let engine = Engine::start();
    let held = json!({ "ID": "lock", "CreatedAt": "2026-01-01T00:00:00Z", "UpdatedAt": "2026-01-01T00:59:30Z", "Spec": {
        "Name": "moonswarm-deploy-lock",
        "Labels": { "moonswarm.stack": "blue", "moonswarm.lock.holder": "bob@desk", "moonswarm.lock.message": "apply" },
    }});
    engine.world().configs.insert("lock".into(), held);

    let err = apply(&engine, &product("1")).await.unwrap_err();

    assert_eq!(err.exit_code(), 3);
    insta::assert_snapshot!(err, @"stack `blue` is being deployed by bob@desk since 2026-01-01T00:00:00Z (apply); wait for them, or for a minute after their death: then the lock is taken over");
    engine.world().configs.get_mut("lock").unwrap()["UpdatedAt"] = json!("2026-01-01T00:58:30Z");
    apply(&engine, &product("1")).await.unwrap();
    assert!(!engine.world().configs.values().any(|it| it["Spec"]["Name"] == "moonswarm-deploy-lock"), "it is released");
}

#[tokio::test]
async fn what_no_deployment_needs_is_removed_and_what_one_could_go_back_to_stays() {
    let engine = Engine::start();
    apply(&engine, &product("1")).await.unwrap();
    let mut rotated = product("2");
    rotated.secrets.api_token = b"rotated".to_vec();
    apply(&engine, &rotated).await.unwrap();
    assert_eq!(engine.world().secrets.len(), 5, "the old token stays for a rollback");

    for version in 3..=9 {
        rotated.executor_image = format!("localhost/moonswarm-executor:{version}");
        rotated.manager_image = format!("localhost/moonswarm-manager:{version}");
        apply(&engine, &rotated).await.unwrap();
    }

    assert_eq!(engine.world().secrets.len(), 4);
}

#[tokio::test]
async fn a_swarm_without_a_manager_that_answers_is_told_node_by_node() {
    let engine = Engine::start();
    let mut node = engine.node();
    node.access = deploy::Access::Socket("/nowhere/docker.sock".into());

    let err = deploy::Cluster::connect(&[node]).await.unwrap_err();

    insta::assert_snapshot!(err, @"none of the nodes is a manager of a Swarm that takes orders (n1: on node `n1`: connect to the Docker engine at `unix:///nowhere/docker.sock`: No such file or directory (os error 2)); initialise it (`docker swarm init` on the first manager), or bring a majority of its managers back");
}
