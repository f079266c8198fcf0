//! What the sandbox costs, without HTTP around it: `cargo xtask bench inside` runs this and shows its figures.
//!
//! Times are processor time of the measuring thread, so that other load disturbs them little; each figure is the median of
//! several batches, with the lowest and the highest beside it.
#![expect(clippy::print_stdout, reason = "a command-line tool prints")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Function, Lua};
use rustix::time::{ClockId, clock_gettime};
use sandbox::{Call, Engine, Limits, Program, Vm, compile};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What a rule that calls much costs: the interpreter looks for an interrupt at every call.
const FIB: &str = "local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end return fib(23)";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: cost RULE-FILE INPUT-FILE BATCHES";
    let rule = fs_err::read_to_string(arguments.next().ok_or(usage)?)?;
    let input = fs_err::read_to_string(arguments.next().ok_or(usage)?)?;
    let batches = arguments.next().ok_or(usage)?.parse()?;
    // The stack that executions need.
    let bench = thread::Builder::new().stack_size(8 << 20).spawn(move || Desk::new(batches)?.figures(&rule, &input))?;
    let figures = bench.join().map_err(|_| "the measuring thread panicked")??;
    println!("{}", json!(figures));
    Ok(())
}

struct Desk {
    engine: Arc<Engine>,
    limits: Limits,
    batches: usize,
}

impl Desk {
    fn new(batches: usize) -> Result<Self> {
        Ok(Self { engine: Engine::start()?, limits: Limits::default(), batches })
    }

    fn figures(&self, rule: &str, input: &str) -> Result<Vec<Value>> {
        let empty = "return function() end";
        let order = self.calls(empty, input)?;
        let nothing = self.calls(empty, "")?;
        let echo = self.calls("return function(input) return input end", input)?;
        let mut figures = vec![
            figure("call of the rule, fresh environment", "µs", self.calls(rule, input)?),
            figure("call of an empty handler, no input", "µs", nothing.clone()),
            figure("JSON in (the order)", "µs", difference(&order, &nothing)),
            figure("JSON out (the order)", "µs", difference(&echo, &order)),
            figure("compile the rule", "µs", self.time(200, || self.compile(rule).map(drop))?),
        ];
        figures.extend(self.machines(rule, input)?);
        figures.extend(self.interrupt()?);
        Ok(figures)
    }

    /// Microseconds of `count` rounds of `work` in each batch, per round.
    fn time(&self, count: u32, mut work: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
        (0..=self.batches)
            .map(|_| {
                let start = cpu();
                for _ in 0..count {
                    work()?;
                }
                Ok((cpu() - start).as_secs_f64() * 1e6 / f64::from(count))
            })
            // The first batch warms up.
            .skip(1)
            .collect()
    }

    fn compile(&self, source: &str) -> Result<Program> {
        Ok(compile("rule.luau", source.as_bytes(), &self.limits)?)
    }

    fn calls(&self, source: &str, input: &str) -> Result<Vec<f64>> {
        let (program, mut vm) = (self.compile(source)?, self.vm()?);
        self.time(5000, || run(&mut vm, &program, input))
    }

    fn vm(&self) -> Result<Vm> {
        Ok(self.engine.vm(&self.limits).map_err(|fault| fault.detail)?)
    }

    /// New VMs: time, first call, memory.
    fn machines(&self, rule: &str, input: &str) -> Result<Vec<Value>> {
        const VMS: u32 = 500;
        let program = self.compile(rule)?;
        let before = resident_bytes()?;
        let mut vms = Vec::new();
        let start = cpu();
        for _ in 0..VMS {
            vms.push(self.vm()?);
        }
        let made = (cpu() - start).as_secs_f64() * 1e6 / f64::from(VMS);
        #[expect(clippy::cast_precision_loss, reason = "kibibytes for people")]
        let kib = |bytes: usize| bytes as f64 / 1024.0;
        let resident = kib(resident_bytes()?.saturating_sub(before)) / f64::from(VMS);
        let used = kib(vms.first().ok_or("no VM")?.used_bytes());
        let mut cold = Vec::new();
        for vm in &mut vms {
            let start = cpu();
            run(vm, &program, input)?;
            cold.push((cpu() - start).as_secs_f64() * 1e6);
        }
        let ran = kib(resident_bytes()?.saturating_sub(before)) / f64::from(VMS);
        drop(vms);
        let again = self.time(50, || self.vm().map(drop))?;
        Ok(vec![
            figure("new VM, kept", "µs", vec![made]),
            figure("new VM, made and dropped", "µs", again),
            figure("first call of the rule in a new VM", "µs", cold),
            figure("heap of a new VM", "KiB", vec![used]),
            figure("resident memory of an idle VM", "KiB", vec![resident]),
            figure("the same after one call of the rule", "KiB", vec![ran]),
        ])
    }

    /// The same work in the sandbox, under a deadline, and in a plain VM without any.
    fn interrupt(&self) -> Result<Vec<Value>> {
        let (program, mut vm) = (self.compile(&format!("return function() {FIB} end"))?, self.vm()?);
        let armed = self.time(5, || run(&mut vm, &program, ""))?;

        let lua = Lua::new();
        lua.sandbox(true).map_err(told)?;
        let bytecode = Compiler::new().set_optimization_level(2).set_debug_level(1).compile(FIB).map_err(told)?;
        let plain: Function = lua.load(bytecode).set_mode(ChunkMode::Binary).into_function().map_err(told)?;
        let plain = self.time(5, || {
            black_box(plain.call::<f64>(()).map_err(told)?);
            Ok(())
        })?;
        let ratio = armed.iter().zip(&plain).map(|(armed, plain)| armed / plain).collect();
        Ok(vec![
            figure("fib(23) in the sandbox, deadline watched", "µs", armed),
            figure("fib(23) in a plain VM", "µs", plain),
            figure("cost of the deadline in fib(23)", "x", ratio),
        ])
    }
}

fn run(vm: &mut Vm, program: &Program, input: &str) -> Result<()> {
    let (limits, id) = (Limits::default(), "0192f0c1-7c1e-7000-8000-000000000000");
    let call = Call { input: input.as_bytes(), ..Call::new("acme", "rule", "8a92d793eac6", id, &limits) };
    black_box(vm.run(program, &call).outcome.map_err(|fault| fault.detail)?);
    Ok(())
}

/// An error of mlua without what ties it to its thread.
fn told(error: mlua::Error) -> String {
    error.to_string()
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn resident_bytes() -> Result<usize> {
    let text = fs_err::read_to_string("/proc/self/statm")?;
    let pages: usize = text.split(' ').nth(1).ok_or("`/proc/self/statm` has one field")?.parse()?;
    Ok(pages * rustix::param::page_size())
}

fn difference(more: &[f64], less: &[f64]) -> Vec<f64> {
    more.iter().zip(less).map(|(more, less)| more - less).collect()
}

fn figure(name: &str, unit: &str, mut samples: Vec<f64>) -> Value {
    samples.sort_by(f64::total_cmp);
    let (min, max) = (samples.first(), samples.last());
    json!({ "name": name, "unit": unit, "value": { "median": samples[samples.len() / 2], "min": min, "max": max } })
}
