//! A report as tables. The spread of a figure stands behind it in brackets.

use super::comparison::{Comparison, Contest};
use super::figure::Figure;
use super::inside::Cost;
use super::neighbour::Neighbour;
use super::oversubscription::Oversubscription;
use super::report::Report;
use super::swaps::Swaps;
use super::tenants::Crowd;

pub(super) fn of(report: &Report) -> String {
    let machine = &report.machine;
    let mut lines = vec![
        format!(
            "commit {}, {} cores ({}), {:.0} GiB, Linux {}",
            report.revision,
            machine.cores,
            machine.processor,
            machine.memory_bytes as f64 / f64::from(1 << 30),
            machine.kernel
        ),
        format!(
            "load {:.1} before, {:.1} after; {} rounds of {} s; {:.0} s in all",
            machine.load_before, machine.load_after, report.rounds, report.seconds, report.total_seconds
        ),
    ];
    if machine.load_before > 0.5 {
        lines.push("the machine was busy with other things: trust ratios only".to_owned());
    }
    lines.extend(report.comparison.iter().flat_map(comparison));
    lines.extend(inside(&report.inside));
    lines.extend(tenants(&report.tenants));
    lines.extend(neighbour(&report.neighbour));
    lines.extend(report.swaps.iter().flat_map(swaps));
    lines.extend(report.oversubscription.iter().flat_map(oversubscription));
    lines.extend(report.failures.iter().map(|failure| format!("\nFAILED  {failure}")));
    lines.join("\n")
}

fn comparison(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for contest in &comparison.contests {
        lines.extend(contest_table(contest));
    }
    lines.extend(comparison.skipped.iter().map(|skipped| format!("SKIPPED  {}: {}", skipped.name, skipped.why)));
    lines
}

fn contest_table(contest: &Contest) -> Vec<String> {
    let load = match contest.rate {
        Some(rate) => format!("open loop, {rate:.0} requests/s"),
        None => "closed loop".to_owned(),
    };
    let mut lines = vec![
        format!("\nthe same rule, {} connections, {load}", contest.connections),
        format!(
            "{:<16} {:>22} {:>8} {:>8} {:>8} {:>16} {:>6} {:>7}   ours: {:>7} {:>9} {:>7}",
            "",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "p99.9",
            "CPU-µs/request",
            "MiB",
            "faults",
            "faster",
            "CPU saved",
            "p99"
        ),
    ];
    for server in &contest.servers {
        lines.push(format!(
            "{:<16} {:>22} {:>8.0} {:>8.0} {:>8.0} {:>16} {:>6.1} {:>7}         {:>6.2}x {:>8.2}x {:>6.2}x",
            server.name,
            spread(&server.requests_per_second, 0),
            server.p50_us.median,
            server.p99_us.median,
            server.p999_us.median,
            spread(&server.cpu_us, 1),
            server.rss_mib,
            server.faults,
            server.speed_of_ours.median,
            server.thrift_of_ours.median,
            server.p99_of_ours.median,
        ));
    }
    lines
}

fn inside(costs: &[Cost]) -> Vec<String> {
    let line = |cost: &Cost| {
        let digits = if cost.value.median < 100.0 { 2 } else { 0 };
        format!("{:<45} {:>22} {}", cost.name, spread(&cost.value, digits), cost.unit)
    };
    titled("inside the process (CPU time)", costs.iter().map(line))
}

fn tenants(crowds: &[Crowd]) -> Vec<String> {
    let line = |crowd: &Crowd| {
        format!(
            "{:>7} tenants: {:.1} MiB, {:.1} KiB each cold ({:.0} per GiB), {:.0} KiB per VM\n\
             {:>16} live in {:.1} s, one more push {:.0} ms, boot from disk {:.0} ms\n\
             {:>16} first call p50 {:.0} p99 {:.0} µs, warm p50 {:.0} p99 {:.0} µs, {} faults",
            crowd.tenants,
            crowd.rss_mib,
            crowd.cold_kib,
            crowd.tenants_per_gib,
            crowd.vm_kib,
            "",
            crowd.released_seconds,
            crowd.change_ms,
            crowd.boot_ms,
            "",
            crowd.cold_p50_us,
            crowd.cold_p99_us,
            crowd.warm_p50_us,
            crowd.warm_p99_us,
            crowd.faults,
        )
    };
    titled("tenants that nobody calls", crowds.iter().map(line))
}

fn neighbour(neighbours: &[Neighbour]) -> Vec<String> {
    let line = |neighbour: &Neighbour| {
        format!(
            "beside {:<15} p50 {:>22} µs   p99 {:>24} µs   p99 against alone {:>18}   {} faults, {} answers to the other",
            neighbour.beside,
            spread(&neighbour.p50_us, 0),
            spread(&neighbour.p99_us, 0),
            spread(&neighbour.p99_ratio, 2),
            neighbour.faults,
            neighbour.other_answers,
        )
    };
    titled("a quiet tenant (500 requests/s, open loop)", neighbours.iter().map(line))
}

fn swaps(swaps: &Swaps) -> Vec<String> {
    let lines = [
        format!("{:.1} swaps/s, {} in all", swaps.swaps_per_second.median, swaps.swaps),
        format!(
            "requests/s {} with, {} without: {}",
            spread(&swaps.swapped_requests_per_second, 0),
            spread(&swaps.calm_requests_per_second, 0),
            spread(&swaps.speed_ratio, 2)
        ),
        format!(
            "p99 µs {} with, {} without: {}",
            spread(&swaps.swapped_p99_us, 0),
            spread(&swaps.calm_p99_us, 0),
            spread(&swaps.p99_ratio, 2)
        ),
        format!(
            "CPU-µs/request of the executor {} with, {} without",
            spread(&swaps.swapped_cpu_us, 1),
            spread(&swaps.calm_cpu_us, 1)
        ),
        format!("{} requests during swaps: {} faults, {} mixed", swaps.requests, swaps.faults, swaps.mixed),
    ];
    titled("swapping the script under load", lines)
}

fn oversubscription(found: &Oversubscription) -> Vec<String> {
    let line = format!(
        "{} busy processes: {} of {} requests answered, {} killed, {} lost; {:.0}/s, p99 {:.1} ms, max {:.1} ms",
        found.busy_processes,
        found.requests,
        found.wanted,
        found.killed,
        found.lost,
        found.requests_per_second,
        found.p99_us / 1000.0,
        found.max_us / 1000.0,
    );
    titled("more work than cores", [line])
}

fn titled(title: &str, lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let lines: Vec<String> = lines.into_iter().collect();
    if lines.is_empty() { lines } else { [vec![format!("\n{title}")], lines].concat() }
}

/// `12.3 (11.9–12.8)`.
fn spread(figure: &Figure, digits: usize) -> String {
    let Figure { median, min, max } = figure;
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::comparison::{Entrant, Skipped};

    #[test]
    fn servers_stand_under_each_other_and_skipped_ones_are_named() {
        let figure = |median: f64| Figure { median, min: median * 0.9, max: median * 1.1 };
        let entrant = |name: &str, speed: f64| Entrant {
            name: name.into(),
            version: "1".into(),
            requests_per_second: figure(speed),
            p50_us: figure(300.0),
            p99_us: figure(900.0),
            p999_us: figure(2000.0),
            cpu_us: figure(12.0),
            rss_mib: 9.5,
            faults: 0,
            speed_of_ours: figure(60_000.0 / speed),
            thrift_of_ours: figure(1.0),
            p99_of_ours: figure(1.0),
        };
        let skipped = Skipped { name: "Redis EVALSHA".into(), why: "not installed".into() };
        let servers = vec![entrant("moonswarm", 60_000.0), entrant("nginx + Lua", 50_000.0)];
        let found =
            Comparison { contests: vec![Contest { connections: 32, rate: None, servers }], skipped: vec![skipped] };

        insta::assert_snapshot!(comparison(&found).join("\n"), @"

        the same rule, 32 connections, closed loop
                                     requests/s   p50 µs   p99 µs    p99.9   CPU-µs/request    MiB  faults   ours:  faster CPU saved     p99
        moonswarm           60000 (54000–66000)      300      900     2000 12.0 (10.8–13.2)    9.5       0           1.00x     1.00x   1.00x
        nginx + Lua         50000 (45000–55000)      300      900     2000 12.0 (10.8–13.2)    9.5       0           1.20x     1.00x   1.00x
        SKIPPED  Redis EVALSHA: not installed
        ");
    }
}
