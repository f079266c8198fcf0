use std::sync::Arc;
use std::sync::Mutex;

use super::testing::Fuse;
use super::*;
use crate::cloud::memory::MemoryCloud;
use crate::cloud::{Fault, Owner};
use crate::plan::Action;
use crate::resource::{Kind, Name, Spec};
use crate::store::memory::MemoryStore;

type TestEngine = Engine<MemoryCloud, MemoryStore>;

/// A cloud and a store that outlive the engines that work on them.
#[derive(Default)]
struct World {
    cloud: MemoryCloud,
    store: MemoryStore,
}

impl World {
    fn engine(&self) -> TestEngine {
        Engine::new("a", self.cloud.clone(), self.store.clone())
    }

    /// An engine that dies where the fuse says.
    fn mortal(&self, fuse: &Fuse) -> TestEngine {
        Engine::new("a", self.cloud.with_fuse(fuse.clone()), self.store.with_fuse(fuse.clone()))
    }

    async fn apply(&self, desired: &[Resource]) -> Report {
        apply(&self.engine(), desired, &Options::default()).await.unwrap()
    }

    fn live(&self) -> Vec<(Id, Spec)> {
        self.cloud.specs()
    }
}

async fn apply(engine: &TestEngine, desired: &[Resource], options: &Options) -> Result<Report, EngineError> {
    let mut run = engine.begin("tester", "a test", true).await?;
    let plan = run.plan(desired, options).await?;
    let report = run.apply(&plan, &quiet(), &CancellationToken::new()).await;
    run.end().await;
    report
}

fn quiet() -> Observer {
    Arc::new(|_| {})
}

fn resource(id: &str, spec: &str) -> Resource {
    let id: Id = id.parse().unwrap();
    let mut value: serde_json::Value = serde_json::from_str(spec).unwrap();
    value["kind"] = id.kind.as_str().into();
    Resource { id, protect: false, spec: serde_json::from_value(value).unwrap() }
}

/// A network of everything that waits for something else.
fn small(mtu: u16) -> Vec<Resource> {
    vec![
        resource("network/n", &format!(r#"{{"mtu": {mtu}}}"#)),
        resource(
            "subnet/s",
            r#"{"network": "n", "region": "r", "range": "10.0.0.0/24", "private_google_access": true}"#,
        ),
        resource("topic/t", "{}"),
        resource("service_account/sa", r#"{"display_name": "x"}"#),
        resource("binding/b", r#"{"on": "topic/t", "role": "roles/a", "member": "service_account/sa"}"#),
    ]
}

/// Another role, another range, another account: replacements of both orders, an update, a deletion and a new one.
fn changed() -> Vec<Resource> {
    vec![
        resource("network/n", r#"{"mtu": 8000}"#),
        resource(
            "subnet/s",
            r#"{"network": "n", "region": "r", "range": "10.1.0.0/24", "private_google_access": true}"#,
        ),
        resource("topic/t", "{}"),
        resource("service_account/other", r#"{"display_name": "x"}"#),
        resource("binding/b", r#"{"on": "topic/t", "role": "roles/b", "member": "service_account/other"}"#),
    ]
}

fn sorted(desired: &[Resource]) -> Vec<(Id, Spec)> {
    let mut sorted: Vec<_> = desired.iter().map(|resource| (resource.id.clone(), resource.spec.clone())).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted
}

#[tokio::test]
async fn what_is_applied_is_there_and_the_second_plan_is_empty() {
    let world = World::default();

    let report = world.apply(&small(1500)).await;

    assert!(report.is_complete(), "{report:?}");
    assert_eq!(world.live(), sorted(&small(1500)));
    let plan = world.engine().plan(&small(1500), &Options::default()).await.unwrap();
    assert_eq!((plan.steps.len(), plan.unchanged), (0, 5));
    assert_eq!(world.store.names(), ["state.json"], "neither lease nor journal stays");
}

#[tokio::test]
async fn a_run_that_dies_anywhere_is_healed_by_the_next() {
    for (from, to) in [(vec![], small(1500)), (small(1500), changed()), (small(1500), vec![])] {
        for done in [false, true] {
            let mut deaths = 0;
            for at in 0.. {
                let world = World::default();
                world.apply(&from).await;
                let fuse = Fuse::at(at, done);
                let (mortal, options) = (world.mortal(&fuse), Options::default());
                let died = tokio::select! {
                    report = apply(&mortal, &to, &options) => { report.unwrap(); false }
                    () = fuse.blown() => true,
                };
                if !died {
                    break;
                }
                deaths += 1;

                let report = world.apply(&to).await;

                let place = format!("died at change {at}, done: {done}");
                assert!(report.is_complete(), "{place}: {report:?}");
                assert_eq!(world.live(), sorted(&to), "{place}");
                let state = world.engine().state().await.unwrap().state.resources;
                assert_eq!(state.len(), to.len(), "{place}: the state knows what is there");
                assert_eq!(world.store.names(), ["state.json"], "{place}");
                let again = world.engine().plan(&to, &Options::default()).await.unwrap();
                assert!(again.is_empty(), "{place}: {again}");
            }
            assert!(deaths >= 15, "only {deaths} places to die at");
        }
    }
}

#[tokio::test]
async fn nothing_is_made_twice_by_a_run_that_died() {
    for at in 0..25 {
        let world = World::default();
        let fuse = Fuse::at(at, true);
        let (mortal, options) = (world.mortal(&fuse), Options::default());
        let desired = small(1500);
        tokio::select! {
            _ = apply(&mortal, &desired, &options) => {}
            () = fuse.blown() => {}
        }

        world.apply(&desired).await;

        assert_eq!(world.cloud.made(), desired.len(), "died at change {at}");
    }
}

#[tokio::test]
async fn a_quota_in_the_middle_leaves_a_partial_run_that_the_next_completes() {
    let world = World::default();
    world.cloud.fail("topic/t", &[Fault::Quota]);

    let report = world.apply(&small(1500)).await;

    let outcome = |id: &str| {
        let id: Id = id.parse().unwrap();
        report.steps.iter().find(|(found, ..)| *found == id).map(|(.., outcome)| outcome.clone()).unwrap()
    };
    assert_eq!(outcome("subnet/s"), Outcome::Applied);
    assert!(matches!(outcome("topic/t"), Outcome::Failed(reason) if reason.contains("quota")));
    assert_eq!(outcome("binding/b"), Outcome::NotStarted);

    assert!(world.apply(&small(1500)).await.is_complete());
    assert_eq!(world.live(), sorted(&small(1500)));
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_a_while_is_tried_again() {
    let world = World::default();
    world.cloud.fail("topic/t", &[Fault::Passing, Fault::Passing, Fault::Passing]);

    assert!(world.apply(&small(1500)).await.is_complete());
}

#[tokio::test]
async fn the_second_of_two_engines_is_told_who_is_at_it() {
    let world = World::default();
    let (first, second) = (world.engine(), world.engine());
    let run = first.begin("ann@desk", "new zone", false).await.unwrap();

    let refused = second.begin("bob@desk", "", false).await.map(drop).unwrap_err();

    assert!(refused.to_string().starts_with("locked by ann@desk (new zone)"), "{refused}");
    run.end().await;
    second.begin("bob@desk", "", false).await.unwrap().end().await;
}

#[tokio::test]
async fn whose_lease_was_stolen_can_write_nothing_any_more() {
    let world = World::default();
    let (first, second) = (world.engine(), world.engine());
    let mut robbed = first.begin("ann", "", false).await.unwrap();
    let plan = robbed.plan(&small(1500), &Options::default()).await.unwrap();
    apply(&second, &small(8000), &Options::default()).await.unwrap();

    let refused = robbed.apply(&plan, &quiet(), &CancellationToken::new()).await.unwrap_err();

    assert!(refused.to_string().contains("was written by somebody else"), "{refused}");
    assert_eq!(world.live(), sorted(&small(8000)));
}

#[tokio::test]
async fn a_plan_of_an_older_state_is_refused() {
    let world = World::default();
    let engine = world.engine();
    let saved = engine.plan(&small(1500), &Options::default()).await.unwrap();
    world.apply(&small(8000)).await;

    let mut run = engine.begin("ann", "", false).await.unwrap();
    let refused = run.apply(&saved, &quiet(), &CancellationToken::new()).await.unwrap_err();

    assert!(matches!(refused, EngineError::Stale { .. }), "{refused}");
    run.end().await;
}

#[tokio::test]
async fn a_saved_plan_is_what_is_applied() {
    let world = World::default();
    let engine = world.engine();
    let plan = engine.plan(&small(1500), &Options::default()).await.unwrap();
    let saved = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(plan, saved);

    let mut run = engine.begin("ann", "", false).await.unwrap();
    run.apply(&saved, &quiet(), &CancellationToken::new()).await.unwrap();
    run.end().await;

    assert_eq!(world.live(), sorted(&small(1500)));
}

#[tokio::test]
async fn after_a_stop_nothing_is_begun() {
    let world = World::default();
    let engine = world.engine();
    let mut run = engine.begin("ann", "", false).await.unwrap();
    let plan = run.plan(&small(1500), &Options::default()).await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();

    let report = run.apply(&plan, &quiet(), &stop).await.unwrap();
    run.end().await;

    assert!(report.steps.iter().all(|(.., outcome)| *outcome == Outcome::NotStarted));
    assert!(world.cloud.ids().is_empty());
}

#[tokio::test]
async fn what_was_deleted_by_hand_is_drift_and_comes_back() {
    let world = World::default();
    world.apply(&small(1500)).await;
    world.cloud.remove("binding/b");

    let drift = world.engine().drift().await.unwrap();

    assert_eq!(drift.iter().map(ToString::to_string).collect::<Vec<_>>(), ["binding/b (dangerous) is gone"]);
    assert!(world.apply(&small(1500)).await.is_complete());
    assert!(world.engine().drift().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_changed_by_hand_is_told_by_how_bad_it_is() {
    let world = World::default();
    let mut desired = small(1500);
    let firewall = r#"{"network": "n", "allow": [], "from_ranges": ["10.0.0.0/8"], "to_accounts": ["sa"]}"#;
    desired.push(resource("firewall/f", firewall));
    world.apply(&desired).await;
    world.cloud.put(&resource("firewall/f", &firewall.replace("10.0.0.0/8", "0.0.0.0/0")), Owner::Us);
    world.cloud.put(&resource("service_account/sa", r#"{"display_name": "y"}"#), Owner::Us);

    let drift = world.engine().drift().await.unwrap();

    insta::assert_snapshot!(drift.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), @r#"
    firewall/f (dangerous)
        from_ranges: ["0.0.0.0/0"] -> ["10.0.0.0/8"]
    service_account/sa (benign)
        display_name: "y" -> "x"
    "#);
}

#[tokio::test]
async fn somebody_elses_resource_is_not_touched() {
    let world = World::default();
    world.cloud.put(&small(1500)[0], Owner::Other("nobody".into()));

    let refused = apply(&world.engine(), &small(8000), &Options::default()).await.unwrap_err();

    assert!(matches!(refused, EngineError::Refused));
    assert_eq!(world.live(), sorted(&small(1500)[..1]));
}

#[tokio::test]
async fn observers_hear_of_every_step() {
    let world = World::default();
    let engine = world.engine();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let observer: Observer = Arc::new(move |event| {
        if let Event::Done(step, _) = event {
            told.lock().unwrap().push((step.id.kind, step.action));
        }
    });

    let mut run = engine.begin("ann", "", false).await.unwrap();
    let plan = run.plan(&small(1500), &Options::default()).await.unwrap();
    run.apply(&plan, &observer, &CancellationToken::new()).await.unwrap();
    run.end().await;

    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 5);
    assert!(heard.contains(&(Kind::Binding, Action::Create)));
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = Id::new(Kind::Instance, &"a-b".parse::<Name>().unwrap());

    assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
    assert!("instance".parse::<Id>().is_err());
    assert!("thing/a".parse::<Id>().is_err());
}
