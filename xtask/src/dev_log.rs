//! The programs' JSON log lines as lines for people.

use serde_json::{Map, Value};

/// Prints one line of a program's log.
pub(crate) fn print(program: &str, line: &str) {
    println!("{}", render(program, line));
}

/// `executor-2 | info  acme/risk: the script's words`, `manager | warn  message  field=value`.
fn render(program: &str, line: &str) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return format!("{program:<10} | {line}");
    };
    let level = text(&mut fields, "level").to_lowercase();
    let message = text(&mut fields, "message");
    for noise in ["timestamp", "target", "span", "spans"] {
        fields.remove(noise);
    }
    if fields.get("source").is_some_and(|source| source == "lua_script") {
        let script = format!("{}/{}", text(&mut fields, "tenant"), text(&mut fields, "script"));
        return format!("{program:<10} | {level:<5} {script}: {message}");
    }
    let rest: String = fields.iter().map(|(key, value)| format!("  {key}={}", plain(value))).collect();
    format!("{program:<10} | {level:<5} {message}{rest}")
}

fn text(fields: &mut Map<String, Value>, key: &str) -> String {
    fields.remove(key).as_ref().map(plain).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_own_words_stand_behind_its_name() {
        let line = r#"{"timestamp":"t","level":"WARN","message":"limit reached","source":"lua_script","tenant":"acme","script":"risk","execution_id":"1"}"#;
        insta::assert_snapshot!(render("executor-1", line), @"executor-1 | warn  acme/risk: limit reached");
    }

    #[test]
    fn other_lines_keep_their_fields_and_unreadable_ones_are_shown_as_they_are() {
        let line =
            r#"{"timestamp":"t","level":"INFO","message":"listening","target":"manager","address":"127.0.0.1:7700"}"#;
        insta::assert_snapshot!(render("manager", line), @"manager    | info  listening  address=127.0.0.1:7700");
        insta::assert_snapshot!(render("manager", "thread panicked"), @"manager    | thread panicked");
    }
}
