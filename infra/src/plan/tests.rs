use super::*;
use crate::render;
use crate::resource::Spec;
use crate::stack::Stack;

fn stack(text: &str) -> Vec<Resource> {
    let text = format!("name = 'a'\nproject = 'p'\nregion = 'r'\nzones = ['r-a', 'r-b', 'r-c']\n{text}");
    let stack = Stack::parse("a.toml", &text).unwrap_or_else(|faults| panic!("{faults}"));
    render::resources(&stack).unwrap_or_else(|faults| panic!("{faults}"))
}

fn recorded(resources: &[Resource]) -> BTreeMap<Id, Resource> {
    resources.iter().map(|resource| (resource.id.clone(), resource.clone())).collect()
}

fn live(resources: &[Resource]) -> BTreeMap<Id, Live> {
    let live = |resource: &Resource| Live { spec: resource.spec.clone(), owner: Owner::Us };
    resources.iter().map(|resource| (resource.id.clone(), live(resource))).collect()
}

/// From one stack that stands to another.
fn between(old: &[Resource], new: &[Resource], options: &Options) -> Plan {
    plan(&Input { stack: "a", desired: new, recorded: &recorded(old), live: &live(old), state_generation: 7, options })
}

#[test]
fn everything_is_made_after_what_it_refers_to() {
    let plan = between(&[], &stack(""), &Options::default());

    for (number, step) in plan.steps.iter().enumerate() {
        assert!(step.after.iter().all(|before| *before < number));
        for wanted in step.resource.spec.references() {
            let place = plan.steps.iter().position(|step| step.id == wanted).unwrap();
            assert!(step.after.contains(&place), "{} does not wait for {wanted}", step.id);
        }
    }
    assert_eq!(plan.counts().0, plan.steps.len());
}

#[test]
fn everything_is_deleted_before_what_it_refers_to() {
    let old = stack("");
    let options = Options { destroy: true, delete_data: true, ..Options::default() };

    let plan = between(&old, &old, &options);

    assert_eq!(plan.counts().3, old.len());
    assert_eq!(plan.problems, []);
    let place = |id: &Id| plan.steps.iter().position(|step| step.id == *id).unwrap();
    for step in &plan.steps {
        for wanted in step.resource.spec.references() {
            assert!(place(&wanted) > place(&step.id), "{wanted} goes before {}", step.id);
        }
    }
}

#[test]
fn a_destroyed_stack_can_leave_its_data() {
    let old = stack("");

    let refused = between(&old, &old, &Options { destroy: true, ..Options::default() });
    let kept = between(&old, &old, &Options { destroy: true, keep_data: true, ..Options::default() });

    assert!(refused.problems.contains(&Problem::Protected("bucket/p-a-scripts".parse().unwrap())));
    assert_eq!(kept.problems, []);
    assert_eq!(kept.unchanged, old.iter().filter(|resource| resource.protect).count());
}

#[test]
fn a_larger_manager_is_told_with_what_it_does_to_the_quorum() {
    let (old, new) = (stack(""), stack("[managers]\nmachine_type = 'e2-large'"));

    let all = between(&old, &new, &Options::default());
    let targets = vec!["instance/a-manager-1".parse().unwrap()];
    let one = between(&old, &new, &Options { targets, ..Options::default() });

    assert_eq!(all.problems, [Problem::Quorum]);
    assert_eq!(one.problems, []);
    insta::assert_snapshot!(format!("{all}\n\n=====\n\n{one}"));
}

#[test]
fn replacements_take_along_what_refers_to_them() {
    let (old, new) = (
        stack("[managers]\ncount = 1\n[workers]\ncount = 1"),
        stack("[managers]\ncount = 1\n[workers]\ncount = 1\n[network]\nrange = '10.9.0.0/20'"),
    );

    let plan = between(&old, &new, &Options { break_quorum: true, ..Options::default() });

    insta::assert_snapshot!(plan);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.action, step.id.kind.as_str())).collect();
    let first_made = steps.iter().position(|(action, kind)| *action == Action::Create && *kind == "subnet").unwrap();
    assert!(steps[first_made..].iter().all(|(action, _)| *action != Action::Delete), "{steps:?}");
}

#[test]
fn fewer_workers_are_deleted_and_more_are_made() {
    let plan = |old, new| {
        let options = Options::default();
        between(&stack(&format!("[workers]\ncount = {old}")), &stack(&format!("[workers]\ncount = {new}")), &options)
            .counts()
    };

    assert_eq!(plan(3, 1), (0, 0, 0, 2));
    assert_eq!(plan(1, 3), (2, 0, 0, 0));
}

#[test]
fn values_that_the_cloud_filled_in_are_left_alone() {
    let old = stack("");
    let mut live = live(&old);
    for live in live.values_mut() {
        if let Spec::Instance(instance) = &mut live.spec {
            instance.metadata.insert("ssh-keys".into(), "somebody's".into());
        }
    }

    let plan = plan(&Input {
        stack: "a",
        desired: &old,
        recorded: &recorded(&old),
        live: &live,
        state_generation: 1,
        options: &Options::default(),
    });

    assert!(plan.is_empty(), "{plan}");
}

#[test]
fn what_is_there_but_was_not_written_down_is_taken_over() {
    let resources = stack("");

    let plan = plan(&Input {
        stack: "a",
        desired: &resources,
        recorded: &BTreeMap::new(),
        live: &live(&resources),
        state_generation: 0,
        options: &Options::default(),
    });

    assert!(plan.steps.iter().all(|step| step.action == Action::Record));
    assert_eq!(plan.steps.len(), resources.len());
}

#[test]
fn a_target_that_nobody_knows_is_a_problem() {
    let targets = vec!["instance/b".parse().unwrap()];

    let plan = between(&stack(""), &stack(""), &Options { targets, ..Options::default() });

    insta::assert_snapshot!(plan.problems[0], @r"
    instance/b is neither in the templates nor in the state; `provision state list` shows what is.
    ");
}

#[test]
fn disks_grow_and_never_shrink() {
    let plan = |old, new| {
        let options = Options::default();
        let stack = |size| stack(&format!("[managers]\ndata_disk_gb = {size}"));
        between(&stack(old), &stack(new), &options)
    };

    assert_eq!(plan(10, 20).counts(), (0, 3, 0, 0));
    assert!(plan(20, 10).problems.iter().any(|problem| matches!(problem, Problem::Protected(_))));
}
