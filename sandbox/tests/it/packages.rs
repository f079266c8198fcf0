//! Scripts of several files: what is unpacked, and what is refused.

use std::io::{Cursor, Write};

use sandbox::{Limits, Program, compile};
use zip::write::SimpleFileOptions;

use crate::{at_desk, roomy};

/// A tar file of these files, as a program that knows nothing of us makes it.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        // Not by `set_path`, which refuses the paths that are of interest here.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        writer.start_file(*path, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn paths(program: &Program) -> Vec<&str> {
    program.paths().collect()
}

#[track_caller]
fn refusal(file: &str, bytes: &[u8]) -> String {
    let refusal = compile(file, bytes, &Limits::default()).unwrap_err();
    format!("{}: {}", refusal.code, refusal.detail)
}

const HANDLER: &[u8] = b"return function() return 1 end";

#[test]
fn a_zip_and_a_tar_of_the_same_files_are_the_same_script() {
    let files: &[(&str, &[u8])] = &[("rules/vip.luau", b"return 7"), ("init.luau", HANDLER)];

    for bytes in [tar(files), zip(files)] {
        let program = compile("risk", &bytes, &Limits::default()).unwrap();
        assert_eq!(paths(&program), ["init.luau", "rules/vip.luau"]);
        assert!(program.is_package());
    }
    assert!(!compile("risk.luau", HANDLER, &Limits::default()).unwrap().is_package());
}

#[test]
fn the_one_folder_that_all_lies_in_is_taken_off() {
    let program = compile(
        "risk.zip",
        &zip(&[("risk/", b""), ("risk/main.luau", HANDLER), ("risk/a.lua", b"return 1")]),
        &Limits::default(),
    );

    assert_eq!(paths(&program.unwrap()), ["a.lua", "main.luau"]);
}

#[test]
fn paths_are_brought_into_their_normal_form() {
    let program = compile(
        "risk.tar",
        &tar(&[("./init.luau", HANDLER), (".//rules/./vip.luau", b"return 7")]),
        &Limits::default(),
    );

    assert_eq!(paths(&program.unwrap()), ["init.luau", "rules/vip.luau"]);
}

#[test]
fn files_that_are_no_modules_are_passed_over() {
    let files: &[(&str, &[u8])] = &[
        ("init.luau", HANDLER),
        ("README.md", b"\xff\xfe"),
        ("moonswarm.d.luau", b"declare x: number"),
        (".git/hook.luau", b"return ="),
        ("__MACOSX/._init.luau", b"\0"),
        ("data with space.json", b"{}"),
    ];

    for bytes in [tar(files), zip(files)] {
        assert_eq!(paths(&compile("risk", &bytes, &Limits::default()).unwrap()), ["init.luau"]);
    }
}

#[test]
fn a_package_says_what_it_begins_with() {
    insta::assert_snapshot!(refusal("risk.tar", &tar(&[("rules/vip.luau", HANDLER), ("other.luau", HANDLER)])), @"script_refused: `risk.tar` has no `init.luau` or `main.luau` at its root; it has `other.luau`, `rules/vip.luau`");
    insta::assert_snapshot!(refusal("risk.zip", &zip(&[("README.md", b"")])), @"script_refused: `risk.zip` has no `init.luau` or `main.luau` at its root; it has no `.luau` file at all");
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["../init.luau", "/init.luau", "a/../../init.luau", "a\\init.luau", "../README.md"] {
        for bytes in [tar(&[(path, HANDLER)]), zip(&[(path, HANDLER)])] {
            assert!(refusal("risk", &bytes).contains("leads out of the package"), "{path}");
        }
    }
    insta::assert_snapshot!(refusal("risk.tar", &tar(&[("a:1: b.luau", HANDLER)])), @"script_refused: `risk.tar`: the path `a:1: b.luau` has other characters than letters, digits, `.`, `_`, `-` and `/`");
}

#[test]
fn links_are_refused() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "init.luau", "/etc/passwd").unwrap();
    let tar = builder.into_inner().unwrap();
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("init.luau", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let zip = writer.finish().unwrap().into_inner();

    for bytes in [tar, zip] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(refusal("risk", &bytes), @"script_refused: `risk`: the path `init.luau` is a link or another special file; a package holds plain files");
        }
    }
}

#[test]
fn names_that_require_could_not_tell_apart_are_refused() {
    let files: &[(&str, &[u8])] = &[("init.luau", HANDLER), ("vip.luau", HANDLER), ("vip/init.luau", HANDLER)];
    insta::assert_snapshot!(refusal("risk.tar", &tar(files)), @"script_refused: `risk.tar` has both `vip.luau` and `vip/init.luau`: `require` could not tell which is meant by `vip`; rename one");

    insta::assert_snapshot!(refusal("risk.tar", &tar(&[("init.luau", HANDLER), ("./init.luau", HANDLER)])), @"script_refused: `risk.tar` has `init.luau` twice");
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let zeros = vec![b' '; 64 << 20];

    let bomb = zip(&[("init.luau", &zeros)]);
    assert!(bomb.len() < 100 << 10);
    insta::assert_snapshot!(refusal("risk.zip", &bomb), @"too_large: `risk.zip`: `init.luau` has more than 256 KiB, the limit for one file");

    let quarter = vec![b' '; 256 << 10];
    let files: Vec<(String, &[u8])> = (0..5).map(|index| (format!("m{index}.luau"), &quarter[..])).collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    insta::assert_snapshot!(refusal("risk.zip", &zip(&files)), @"too_large: `risk.zip` has more than 1 MiB of modules, unpacked");
}

#[test]
fn the_number_of_modules_is_bounded() {
    let names: Vec<String> = (0..257).map(|index| format!("m{index}.luau")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), HANDLER)).collect();

    insta::assert_snapshot!(refusal("risk.zip", &zip(&files)), @"too_large: `risk.zip` has more than 256 modules");
    insta::assert_snapshot!(refusal("risk.tar", &vec![0; 2 << 20]), @"too_large: `risk.tar` has 2097152 bytes, the limit for a package is 1536 KiB");
}

#[test]
fn broken_archives_are_refused_wherever_they_break() {
    let files: &[(&str, &[u8])] = &[("init.luau", HANDLER), ("a/b.luau", b"return 1")];
    for whole in [tar(files), zip(files)] {
        for end in (4..whole.len()).step_by(7) {
            // What was cut off a tar file's end may be nothing but zeros.
            if let Err(refusal) = compile("risk", &whole[..end], &Limits::default()) {
                assert!(!refusal.detail.is_empty());
            }
        }
        let mut changed = whole.clone();
        for at in (0..changed.len()).step_by(11) {
            changed[at] ^= 0x55;
            let _ = compile("risk", &changed, &Limits::default());
        }
    }
}

#[test]
fn every_module_that_does_not_compile_is_named() {
    let files: &[(&str, &[u8])] =
        &[("init.luau", b"local = 1"), ("rules/vip.luau", b"\n\nreturn ="), ("empty.luau", b" ")];
    let refusal = compile("risk.tar", &tar(files), &Limits::default()).unwrap_err();

    insta::assert_snapshot!(refusal, @"`empty.luau` is empty; and 2 more");
    let places: Vec<String> = refusal.diagnostics.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(places.join("\n"), @"
    empty.luau: is empty
    init.luau:1: Expected identifier when parsing variable name, got '='
    rules/vip.luau:3: Expected identifier when parsing expression, got '='
    ");
}

#[test]
fn a_package_runs() {
    at_desk(roomy(), |desk| {
        let bytes = zip(&[
            (
                "init.luau",
                b"local vip = require('./rules/vip') return function(input) return { output = vip(input) } end",
            ),
            ("rules/vip.luau", b"return function(input) return input.n + 1 end"),
        ]);
        let program = compile("risk.zip", &bytes, &desk.limits).unwrap();

        let answer = desk.run_program(&program, r#"{"n":6}"#).outcome.unwrap();

        assert_eq!(answer.into_json(), br#"{"output":7}"#);
    });
}
