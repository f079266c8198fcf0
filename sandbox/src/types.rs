//! The type declarations of all that scripts may use, kept in step with what there is.

/// Type declarations of all that scripts may use, for editors and analyzers.
pub const TYPES: &str = include_str!("../moonswarm.d.luau");

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use mlua::{Function, Lua, LuaOptions, Table, Value};

    use super::TYPES;
    use crate::capability::Capability;
    use crate::globals::{self, Globals};
    use crate::life::Life;
    use crate::limits::Limits;

    /// What follows `declare NAME:`, up to the next declaration.
    fn declaration(name: &str) -> Option<&'static str> {
        after(&format!("\ndeclare {name}:"))
    }

    fn after(start: &str) -> Option<&'static str> {
        let (_, rest) = TYPES.split_once(start)?;
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
        let base = install(&lua).base;
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

    fn install(lua: &Lua) -> Globals {
        globals::install(lua, &Rc::new(RefCell::new(Life::idle()))).unwrap()
    }

    #[test]
    fn every_member_of_a_context_is_declared() {
        let lua = Lua::new_with(globals::libraries(), LuaOptions::default()).unwrap();
        let make: Function = install(&lua).context;
        let granted = lua.create_table_from(Capability::ALL.map(|capability| (capability.as_str(), true))).unwrap();
        let texts = lua.create_table_from(["tenant", "script", "version"].map(|text| (text, text))).unwrap();
        let members: Table = make.call::<Table>((granted, texts)).unwrap().raw_get("__index").unwrap();

        let mut missing = undeclared("ctx", &members, after("\nexport type Context =").unwrap());
        for name in ["hash", "http", "log", "random", "time"] {
            let declared = after(&format!("\nexport type {}{} =", name[..1].to_uppercase(), &name[1..])).unwrap();
            missing.extend(undeclared(name, &members.raw_get(name).unwrap(), declared));
        }
        assert_eq!(missing, [""; 0], "moonswarm.d.luau does not declare these");
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
