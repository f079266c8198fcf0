//! The image with all first processes in it, and containers of it.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use deploy::image::{Program, build_static};

use super::image::init_image;
use crate::programs::cargo;
use crate::rig::{Engine, load_image, unpack};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// What the other two can't do they never do; that they are slow today costs a line in a table.
const DEADLINE_OF_OTHERS: Duration = Duration::from_secs(15);
/// Marks containers of this command, with the process that started them.
const LABEL: &str = "moonswarm.test=supervisor";

/// A first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Ours.
    Moonswarm,
    /// <https://github.com/krallin/tini>, from Debian.
    Tini,
    /// <https://github.com/Yelp/dumb-init>, from Debian.
    DumbInit,
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Init {
    fn name(self) -> &'static str {
        match self {
            Self::Moonswarm => "moonswarm-init",
            Self::Tini => "tini",
            Self::DumbInit => "dumb-init",
        }
    }

    /// The words before those of the program to run.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Moonswarm => {
                &["/bin/moonswarm-init", "return require('init').exec{arg, stdout='inherit', grace=1000}"]
            }
            Self::Tini => &["/bin/tini", "--"],
            Self::DumbInit => &["/bin/dumb-init", "--"],
        }
    }
}

/// The image, and who is in it.
#[derive(Debug)]
pub(super) struct Stage {
    image: String,
    inits: Vec<Init>,
    /// Our program on this machine.
    pub(super) program: PathBuf,
    /// The one that misbehaves.
    pub(super) probe: PathBuf,
}

impl Stage {
    /// Builds everything and removes what a run before this one left behind; with those that are missing, and why.
    pub(super) async fn set(engine: &Engine, cache: &Path) -> Result<(Self, Vec<(Init, String)>)> {
        remove_left_behind()?;
        let programs = build_static(cargo, &[Program::INIT, Program::PROBE]).await?;
        let (mut files, mut inits, mut skipped) = (Vec::new(), vec![Init::Moonswarm], Vec::new());
        for (name, file) in &programs {
            files.push((format!("/bin/{name}"), file.clone()));
        }
        for init in [Init::Tini, Init::DumbInit] {
            match unpack(init.name(), cache).await {
                Ok(folder) => {
                    files.push((format!("/bin/{init}"), folder.join("usr/bin").join(init.name())));
                    inits.push(init);
                }
                Err(err) => skipped.push((init, format!("{err:#}"))),
            }
        }
        let image = init_image(&files)?;
        load_image(engine.docker(), &image).await?;
        let stage = Self {
            image: image.tag().to_owned(),
            inits,
            program: programs["moonswarm-init"].clone(),
            probe: programs["probe"].clone(),
        };
        Ok((stage, skipped))
    }

    pub(super) fn inits(&self) -> &[Init] {
        &self.inits
    }

    /// Starts a container; `options` are those of `docker create`.
    pub(super) fn start(&self, options: &[&str], words: &[&str]) -> Result<Container> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let deadline = if words[0] == Init::Moonswarm.words()[0] { DEADLINE } else { DEADLINE_OF_OTHERS };
        let container = Container { name: format!("moonswarm-init-{process}-{number}"), deadline };
        let (name, owner) = (&container.name, format!("moonswarm.test.process={process}"));
        let mut create = vec!["create", "--name", name, "--label", LABEL, "--label", &owner, "--network", "none"];
        create.extend(options);
        create.push(&self.image);
        create.extend(words);
        docker(&create)?;
        docker(&["start", name])?;
        Ok(container)
    }

    /// Starts a program under a first process.
    pub(super) fn under(&self, init: Init, options: &[&str], words: &[&str]) -> Result<Container> {
        self.start(options, &[init.words(), words].concat())
    }

    /// Starts a script under ours.
    pub(super) fn script(&self, code: &str) -> Result<Container> {
        self.start(&[], &["/bin/moonswarm-init", &format!("local init = require('init')\n{code}")])
    }

    /// Runs a container to its end with something to read; what it said.
    pub(super) fn talk(&self, init: Init, input: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--interactive", "--label", LABEL, "--network", "none", &self.image]);
        command.args(init.words()).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("run `docker run`")?;
        // Taken, and so closed behind the words.
        child.stdin.take().context("write to `docker run`")?.write_all(input.as_bytes())?;
        Ok(String::from_utf8_lossy(&child.wait_with_output()?.stdout).into_owned())
    }
}

/// A container that is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    deadline: Duration,
}

impl Container {
    /// All that it has said so far, both streams.
    pub(super) fn said(&self) -> Result<String> {
        docker(&["logs", &self.name])
    }

    /// Waits until it has said a line with `text` in it, so many times.
    pub(super) fn says(&self, text: &str, times: usize) -> Result<()> {
        self.wait_for(|| {
            let said = self.said()?;
            Ok(if said.matches(text).count() >= times {
                Ok(())
            } else {
                Err(format!("it said {said:?}, expected {text:?} {times}x"))
            })
        })
    }

    /// Looks until it is so; an answer within is what it was instead.
    pub(super) fn wait_for<T>(&self, mut look: impl FnMut() -> Result<Result<T, String>>) -> Result<T> {
        let begin = Instant::now();
        loop {
            match look()? {
                Ok(value) => return Ok(value),
                Err(seen) if begin.elapsed() > self.deadline => bail!("not so after {:?}: {seen}", self.deadline),
                // Each look is a process: that is pause enough.
                Err(_) => {}
            }
        }
    }

    /// Sends its first process a signal, `TERM`.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        docker(&["kill", "--signal", name, &self.name]).map(drop)
    }

    /// Runs the probe in it.
    pub(super) fn probe(&self, words: &[&str]) -> Result<String> {
        docker(&[&["exec", &self.name, "/bin/probe"], words].concat())
    }

    /// Waits for its end: the exit code.
    pub(super) fn end(&self) -> Result<i64> {
        self.wait_for(|| {
            let state = docker(&["inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", &self.name])?;
            Ok(match state.trim().split_once(' ') {
                Some(("false", code)) => Ok(code.parse::<i64>()?),
                _ => Err(format!("it still runs; it said {:?}", self.said()?)),
            })
        })
    }

    /// Waits for its end, which must be this one.
    pub(super) fn ends_with(&self, code: i64) -> Result<()> {
        match self.end()? {
            seen if seen == code => Ok(()),
            seen => bail!("it ended with {seen}, expected {code}; it said {:?}", self.said()?),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // One that can't be removed now is by the next run.
        let _ = docker(&["rm", "--force", "--volumes", &self.name]);
    }
}

fn docker(words: &[&str]) -> Result<String> {
    let output = Command::new("docker").args(words).stdin(Stdio::null()).output().context("run `docker`")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!("`docker {}` failed: {}", words.join(" "), text(&output.stderr).trim());
    }
    // `docker logs` has the container's standard error on its own.
    Ok(text(&output.stdout) + &text(&output.stderr))
}

/// Removes containers whose run is over: its process is gone.
fn remove_left_behind() -> Result<()> {
    let format = "{{.ID}} {{.Label \"moonswarm.test.process\"}}";
    let list = docker(&["ps", "--all", "--filter", &format!("label={LABEL}"), "--format", format])?;
    for (id, process) in list.lines().filter_map(|line| line.split_once(' ')) {
        if !Path::new("/proc").join(process).exists() {
            docker(&["rm", "--force", "--volumes", id])?;
        }
    }
    Ok(())
}
