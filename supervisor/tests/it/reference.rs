//! The page about the module, and the module.

#[path = "../../examples/reference.rs"]
#[allow(dead_code, reason = "its `main` is for those who write the page")]
mod page;

use crate::support::run;

#[test]
fn the_page_is_what_the_types_say() {
    let written = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/init.md")).unwrap();
    let rendered = page::render(include_str!("../../init.d.luau"));
    assert!(written == rendered, "docs/init.md is old: cargo run -p supervisor --example reference > docs/init.md");
}

#[test]
fn every_function_has_its_place_in_the_types_and_the_other_way_round() {
    let module = run("local names = {} for name in init do table.insert(names, name) end table.sort(names)
        print(table.concat(names, '\\n'))");
    let types = include_str!("../../init.d.luau");
    let module: Vec<&str> = module.stdout.lines().collect();
    let mut documented: Vec<&str> = types
        .lines()
        .skip_while(|line| !line.starts_with("declare init"))
        .filter_map(|line| line.trim_start().split_once(": ").map(|(name, _)| name))
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    documented.sort_unstable();
    assert_eq!(documented, module);
}
