//! The type declarations of all that scripts may use, kept in step with what there is.

/// Type declarations of all that scripts may use, for editors and analyzers.
pub const TYPES: &str = include_str!("../moonswarm.d.luau");

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use mlua::{Lua, LuaOptions, Table, Value};

    use super::TYPES;
    use crate::globals;
    use crate::limits::Limits;
    use crate::log::Log;

    /// What follows `declare NAME:`, up to the next declaration.
    fn declaration(name: &str) -> Option<&'static str> {
        let (_, rest) = TYPES.split_once(&format!("\ndeclare {name}:"))?;
        let end = ["\ndeclare ", "\nexport "].iter().filter_map(|next| rest.find(next)).min();
        Some(&rest[..end.unwrap_or(rest.len())])
    }

    /// Names that have Luau's own types.
    fn luau_s_own() -> Vec<&'static str> {
        let lines = TYPES.lines().skip_while(|line| !line.ends_with("exist here:")).skip(1);
        lines.take_while(|line| line.starts_with("--   ")).flat_map(|line| line[2..].split_whitespace()).collect()
    }

    #[test]
    fn every_name_that_a_script_finds_is_declared() {
        let lua = Lua::new_with(globals::libraries(), LuaOptions::default()).unwrap();
        let base = globals::install(&lua, &Rc::new(RefCell::new(Log::default()))).unwrap().base;
        let own = luau_s_own();
        assert!(own.contains(&"assert") && own.contains(&"vector"), "{own:?}");

        let mut missing = Vec::new();
        for pair in base.pairs::<String, Value>() {
            let (name, value) = pair.unwrap();
            // One that only these tests have.
            if name == "panic_on_purpose" || own.contains(&name.as_str()) {
                continue;
            }
            match (declaration(&name), value) {
                (None, _) => missing.push(name),
                (Some(declared), Value::Table(library)) => missing.extend(undeclared(&name, &library, declared)),
                (Some(_), _) => {}
            }
        }
        assert_eq!(missing, [""; 0], "moonswarm.d.luau does not declare these");
        for name in own {
            assert!(
                name == "_G" || base.contains_key(name).unwrap(),
                "moonswarm.d.luau knows `{name}`, a script does not"
            );
        }
    }

    fn undeclared(name: &str, library: &Table, declared: &str) -> Vec<String> {
        let members = library.pairs::<String, Value>().map(|pair| pair.unwrap().0);
        members
            .filter(|member| !declared.contains(&format!("\n    {member}: ")))
            .map(|member| format!("{name}.{member}"))
            .collect()
    }

    #[test]
    fn the_declarations_are_luau() {
        // Only analyzers know `declare`; as locals the same types are read by the compiler.
        let text = TYPES.replace("\ndeclare ", "\nlocal ");

        crate::compile("moonswarm.d.luau", text.as_bytes(), &Limits::default()).unwrap();
    }
}
