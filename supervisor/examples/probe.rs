//! Misbehaves in a chosen way, inside containers that have nothing else. Cases of `cargo xtask init-cases` start it.
//!
//! ```console
//! $ probe orphans 1000     # makes so many processes whose parent dies before them
//! $ probe say WORD         # prints a line and ends
//! $ probe exit 7           # ends with this code
//! $ probe clock            # prints the nanoseconds since 1970
//! $ probe wait             # waits to be killed, prints the name of each signal it gets
//! $ probe deaf             # waits, and ignores SIGTERM
//! $ probe flood 100        # prints so many megabytes
//! $ probe descriptors      # prints its open descriptors and its blocked and ignored signals
//! $ probe family           # starts a child of its own, then waits as `wait` does
//! $ probe daemon           # starts a child of its own and ends
//! $ probe echo             # prints what it reads
//! $ probe terminal         # tells whether the keys of the terminal are its own
//! $ probe zombies          # counts the zombies around it
//! $ probe memory           # prints the memory of the first process, in KiB
//! ```

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a program of tests: its output is what it is for"
)]

use std::io::{Write, stdout};
use std::process::{Command, Stdio, exit};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = || words[1].parse::<u32>().unwrap();
    match words[0].as_str() {
        "orphans" => {
            orphans(number());
            wait(&[]);
        }
        "echo" => drop(std::io::copy(&mut std::io::stdin(), &mut stdout()).unwrap()),
        "terminal" => {
            let keys = nix::unistd::tcgetpgrp(std::io::stdin()).unwrap();
            println!("{}", if keys == nix::unistd::getpgrp() { "its own" } else { "another's" });
        }
        "zombies" => println!("zombies {}", processes().filter(|stat| stat.contains(") Z ")).count()),
        "memory" => {
            let status = std::fs::File::open("/proc/1/status").and_then(std::io::read_to_string).unwrap();
            println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
        }
        "parent" => drop(Command::new(own()).arg("orphan").spawn().unwrap()),
        // Its parent is gone or soon will be; that both orders happen is part of the case.
        "orphan" | "nothing" => {}
        "say" => println!("{}", words[1]),
        "exit" => exit(i32::try_from(number()).unwrap()),
        "clock" => println!("{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()),
        "wait" => wait(&[]),
        "deaf" => wait(&[Signal::SIGTERM]),
        "flood" => flood(number()),
        "descriptors" => descriptors(),
        "family" => {
            drop(Command::new(own()).arg("wait").spawn().unwrap());
            wait(&[]);
        }
        // A daemon: its parent ends at once, it stays.
        "daemon" => drop(Command::new(own()).arg("wait").stdout(Stdio::inherit()).spawn().unwrap()),
        other => panic!("there is no way to `{other}`"),
    }
}

fn processes() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path().join("stat"));
    // One that ends meanwhile is none any more.
    entries.filter_map(|stat| std::fs::File::open(stat).and_then(std::io::read_to_string).ok())
}

fn own() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

fn orphans(count: u32) {
    for _ in 0..count {
        assert!(Command::new(own()).arg("parent").status().unwrap().success());
    }
    println!("{count} orphans made");
}

/// Prints each signal; ends by the first that usually ends a process, as that would, unless it is among `deaf_to`.
fn wait(deaf_to: &[Signal]) {
    let set = SigSet::all();
    set.thread_block().unwrap();
    let signals = SignalFd::new(&set).unwrap();
    println!("ready");
    stdout().flush().unwrap();
    loop {
        let number = signals.read_signal().unwrap().unwrap().ssi_signo;
        let signal = match Signal::try_from(i32::try_from(number).unwrap()) {
            Ok(signal) => signal,
            // nix has no name for a real-time signal.
            Err(_) => {
                println!("got a real-time signal");
                continue;
            }
        };
        println!("got {signal}");
        stdout().flush().unwrap();
        let ends = matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
        if ends && !deaf_to.contains(&signal) {
            SigSet::all().thread_unblock().unwrap();
            nix::sys::signal::raise(signal).unwrap();
            // Where it is ignored, as SIGINT is for processes in the background of a shell.
            exit(128 + signal as i32);
        }
    }
}

fn flood(megabytes: u32) {
    let line = [&[b'x'; 1023][..], b"\n"].concat();
    let mut out = stdout().lock();
    for _ in 0..megabytes * 1024 {
        out.write_all(&line).unwrap();
    }
}

fn descriptors() {
    let mut open: Vec<u32> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    open.sort_unstable();
    // The last one is the folder that is read here.
    open.pop();
    println!("open {open:?}");
    let status = std::fs::File::open("/proc/self/status").and_then(std::io::read_to_string).unwrap();
    for line in status.lines().filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn")) {
        println!("{line}");
    }
}
