//! What a child process gives up before it sees a script. None of it can be taken back.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Address space of a child in bytes: what its VMs may hold between executions, room for those that are at their limit,
/// and for the arenas of the allocator. Beyond, memory is refused, the child aborts and is replaced.
const ADDRESS_SPACE_MAX: u64 = 4 << 30;

/// Descriptors: the socket, the three standard ones, and what the runtime needs to wait.
const DESCRIPTORS_MAX: u64 = 16;

/// Ends the process with its parent, and bounds what it may take of the machine. CPU time is not bounded: a child
/// lives for long, and its executions have their own limits.
///
/// # Errors
/// The kernel refuses.
pub(super) fn limit() -> std::io::Result<&'static str> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let at_most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::As, at_most(ADDRESS_SPACE_MAX))?;
    setrlimit(Resource::Core, at_most(0))?;
    setrlimit(Resource::Fsize, at_most(0))?;
    setrlimit(Resource::Nofile, at_most(DESCRIPTORS_MAX))?;
    Ok("4 GiB of addresses, 16 descriptors, no files, no core dumps")
}

/// Gives up files, TCP and signals beyond the process, as far as the kernel's Landlock can. For threads started
/// afterwards. Not an error where it can't: [`filter`] alone forbids the same.
pub(super) fn give_up_files() -> &'static str {
    let newest = ABI::V6;
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(newest)))
        .and_then(|rules| rules.scope(Scope::from_all(newest)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => "in force",
        Ok(RulesetStatus::PartiallyEnforced) => "in force as far as this kernel knows it",
        Ok(RulesetStatus::NotEnforced) => "not in force: this kernel has none",
        Err(_) => "not in force: this kernel refuses it",
    }
}

/// Leaves all threads of the process the system calls that computing needs; every other one fails with `EPERM`.
///
/// # Errors
/// The kernel has no seccomp, or the machine is of a kind that the filter can't be made for.
pub(super) fn filter() -> Result<&'static str, seccompiler::Error> {
    let rules: BTreeMap<i64, Vec<SeccompRule>> = allowed()?.into_iter().collect();
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok("in force")
}

/// System calls that are allowed, with the conditions of which one must hold.
fn allowed() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::Error> {
    // Memory may be had, but none that code can be put into.
    let not_executable = SeccompCondition::new(
        2,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())),
        0,
    )?;
    let not_executable = vec![SeccompRule::new(vec![not_executable])?];
    let mut allowed = vec![(libc::SYS_mmap, not_executable.clone()), (libc::SYS_mprotect, not_executable)];
    let always = [
        // Talking on the socket there is; no call here makes another one.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_close,
        libc::SYS_shutdown,
        // Waiting.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_epoll_ctl,
        libc::SYS_futex,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        // Memory.
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Clocks and randomness.
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        // Being a thread, and ending.
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_getppid,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    allowed.extend(always.map(|call| (call, Vec::new())));
    Ok(allowed)
}
