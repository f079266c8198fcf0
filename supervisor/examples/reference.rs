//! Writes the page `docs/init.md` from the doc comments of `init.d.luau`:
//! `cargo run -p supervisor --example reference > docs/init.md`. A test compares the two.

#![allow(clippy::print_stdout, reason = "the page goes to the standard output")]

fn main() {
    print!("{}", render(include_str!("../init.d.luau")));
}

/// Text of `---` comments as it is; below it what it is about, as code; `--#` begins a section.
pub(crate) fn render(types: &str) -> String {
    let mut page = String::new();
    let (mut text, mut code): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in types.lines().chain([""]) {
        if let Some(heading) = line.strip_prefix("--# ") {
            page += &format!("## {heading}\n\n");
        } else if let Some(words) = line.strip_prefix("---") {
            text.push(words.strip_prefix(' ').unwrap_or(words));
        } else if !line.is_empty() {
            if !line.starts_with("--") {
                code.push(line);
            }
        } else if !text.is_empty() || !code.is_empty() {
            if !code.is_empty() {
                page += &format!("```luau\n{}\n```\n\n", code.join("\n"));
            }
            if !text.is_empty() {
                page += &format!("{}\n\n", text.join("\n"));
            }
            text.clear();
            code.clear();
        }
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}
