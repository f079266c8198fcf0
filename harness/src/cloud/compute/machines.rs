//! The machine room: what makes networks, disks and machines of what the API decided.
//!
//! [`Machines`] is the border: above it all is bookkeeping and tested without Docker, below it things really boot.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use ipnet::Ipv4Net;
use tokio::sync::watch;

/// A step that the machine room is to take. Each may come again after a failure and must then finish what was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing but bookkeeping.
    Nothing,
    /// A subnetwork is made.
    MakeNetwork(NetworkSpec),
    /// A subnetwork goes; its full name.
    RemoveNetwork(String),
    /// A disk is made; its full name.
    MakeDisk(String),
    /// A disk goes with what is on it; its full name.
    RemoveDisk(String),
    /// A machine is built and switched on.
    Build(MachineSpec),
    /// A machine that was stopped is switched on; its full name.
    Start(String),
    /// A machine is told to shut down, and then switched off; its full name.
    Stop(String),
    /// A machine's power is cut, and it is switched on again; its full name.
    Reset(String),
    /// A machine is stopped and scrapped, with these of its disks.
    Scrap {
        /// Its full name.
        machine: String,
        /// Full names of the disks that go with it.
        disks: Vec<String>,
    },
}

/// A subnetwork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Full name of the subnetwork.
    pub name: String,
    /// Its range; the first address is the gateway.
    pub range: Ipv4Net,
    /// Bytes of a packet at most.
    pub mtu: u16,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// Full name of the instance.
    pub name: String,
    /// What it calls itself.
    pub hostname: String,
    /// Full name of its subnetwork.
    pub network: String,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Disks beside the boot disk.
    pub disks: Vec<DiskSpec>,
}

/// A disk in a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSpec {
    /// Full name of the disk.
    pub name: String,
    /// Name by which the machine knows it.
    pub device: String,
}

/// Who does the work.
pub trait Machines: fmt::Debug + Send + Sync {
    /// Whether machines boot, or are on paper.
    fn are_real(&self) -> bool;

    /// The address of the machine that a connection comes from.
    fn address_of(&self, peer: Ipv4Addr) -> Ipv4Addr {
        peer
    }

    /// Takes a step; the error is for people.
    fn perform(&self, work: Work) -> BoxFuture<'static, Result<(), String>>;

    /// Returns when the machine, which runs now, is off, whoever switched it off.
    fn ended(&self, machine: &str) -> BoxFuture<'static, ()>;

    /// Cuts a machine's power.
    fn kill(&self, machine: &str) -> BoxFuture<'static, Result<(), String>>;

    /// What the machine wrote to its serial port.
    fn serial(&self, machine: &str) -> BoxFuture<'static, Result<String, String>>;

    /// Where the machine can be reached from this computer, by what each place is called; for people and tools.
    fn doors(&self, machine: &str) -> BTreeMap<String, String>;
}

/// A machine room on paper: every step succeeds at once and is remembered (the last 10,000).
#[derive(Debug, Clone, Default)]
pub struct PaperMachines {
    shared: Arc<Paper>,
}

#[derive(Debug, Default)]
struct Paper {
    done: Mutex<Vec<Work>>,
    /// Counts up when a machine's power is cut; the name of the last one.
    killed: watch::Sender<String>,
}

/// Steps remembered at most.
const REMEMBERED_MAX: usize = 10_000;

impl PaperMachines {
    /// The steps so far.
    pub fn done(&self) -> Vec<Work> {
        self.shared.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Machines for PaperMachines {
    fn are_real(&self) -> bool {
        false
    }

    /// On paper, this computer's 127.A.B.C stands in for the machine 10.A.B.C.
    fn address_of(&self, peer: Ipv4Addr) -> Ipv4Addr {
        match peer.octets() {
            [127, a, b, c] => Ipv4Addr::new(10, a, b, c),
            _ => peer,
        }
    }

    fn perform(&self, work: Work) -> BoxFuture<'static, Result<(), String>> {
        let mut done = self.shared.done.lock().unwrap_or_else(PoisonError::into_inner);
        if work != Work::Nothing && done.len() < REMEMBERED_MAX {
            done.push(work);
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn ended(&self, machine: &str) -> BoxFuture<'static, ()> {
        let (machine, mut killed) = (machine.to_owned(), self.shared.killed.subscribe());
        Box::pin(async move {
            // Without a sender the cloud is gone, and nobody waits.
            let _ = killed.wait_for(|last| *last == machine).await;
        })
    }

    fn kill(&self, machine: &str) -> BoxFuture<'static, Result<(), String>> {
        self.shared.killed.send_replace(machine.to_owned());
        self.shared.killed.send_replace(String::new());
        Box::pin(std::future::ready(Ok(())))
    }

    fn serial(&self, _machine: &str) -> BoxFuture<'static, Result<String, String>> {
        Box::pin(std::future::ready(Ok(String::new())))
    }

    fn doors(&self, _machine: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}
