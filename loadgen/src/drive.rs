//! The loop that asks: connections, an epoll, and for a fixed rate a timer.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::outcome::{Outcome, Tally};
use crate::wire::{self, Protocol};

/// Answers may come this long after the last request.
const GRACE: Duration = Duration::from_secs(10);

/// A longer answer is no answer of a rule.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Connections that break in a row, without an answer in between, before the server is given up.
const BREAKS_MAX: u32 = 100;

/// The timer's place among the connections.
const TIMER: u64 = u64::MAX;

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whom to ask.
    pub address: SocketAddr,
    /// How.
    pub protocol: Protocol,
    /// What, one after the other and again from the first; at least one.
    pub requests: Vec<Vec<u8>>,
    /// Over so many connections.
    pub connections: usize,
    /// No request is sent after this time …
    pub duration: Duration,
    /// … nor after so many.
    pub requests_max: u64,
    /// Requests per second of an open loop; `None` is a closed one.
    pub rate: Option<f64>,
    /// An answer without this text is not good.
    pub expect: Vec<u8>,
    /// Note the values of this header (in lower case), each with the body.
    pub note: Option<String>,
}

/// Asks until it is done.
///
/// # Errors
/// The server can't be reached, or what it says is not the protocol.
pub fn drive(order: &Order) -> Result<Outcome> {
    Driver::connect(order)?.run()
}

struct Driver<'a> {
    order: &'a Order,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    /// When the requests that wait for a connection were due.
    waiting: VecDeque<Instant>,
    sent: u64,
    due: u64,
    tally: Tally,
    breaks: u32,
}

struct Connection {
    // Blocking: reads come after the kernel said that there is something, and a request fits into the socket's buffer.
    stream: TcpStream,
    received: Vec<u8>,
    /// When the request under way was due.
    asked: Option<Instant>,
}

impl<'a> Driver<'a> {
    fn connect(order: &'a Order) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("make an epoll")?;
        let mut driver = Self {
            order,
            epoll,
            connections: Vec::new(),
            idle: Vec::new(),
            waiting: VecDeque::new(),
            sent: 0,
            due: 0,
            tally: Tally::new(),
            breaks: 0,
        };
        for index in 0..order.connections {
            let stream = driver.open(index)?;
            driver.connections.push(Connection { stream, received: Vec::with_capacity(4096), asked: None });
            driver.idle.push(index);
        }
        Ok(driver)
    }

    fn open(&self, index: usize) -> Result<TcpStream> {
        let address = self.order.address;
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        Ok(stream)
    }

    fn run(mut self) -> Result<Outcome> {
        let start = Instant::now();
        let end = start + self.order.duration;
        let timer = self.order.rate.map(|rate| self.timer(rate)).transpose()?;
        if timer.is_none() {
            self.ask_all(start)?;
        }
        let mut events = Vec::with_capacity(256);
        loop {
            let now = Instant::now();
            let sent_all = self.sent >= self.order.requests_max;
            let over = now >= end || sent_all;
            // What was due in time is sent also when it is late, or the latency of a server that stalls would be missing.
            let settled = self.idle.len() == self.connections.len() && (self.waiting.is_empty() || sent_all);
            if over && settled || now >= end + GRACE {
                break;
            }
            let patience = if over { end + GRACE - now } else { end - now };
            let timeout = Timespec::try_from(patience).context("a time to wait")?;
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err).context("wait for answers"),
            }
            for &Event { data, .. } in &events {
                match (data.u64(), &timer) {
                    (TIMER, Some((timer, interval))) => self.tick(timer, *interval, start, end)?,
                    (index, _) => self.receive(usize::try_from(index).context("a connection's index")?, end)?,
                }
            }
        }
        let late = if self.sent < self.order.requests_max { self.waiting.len() } else { 0 };
        self.tally.outcome.unanswered = (self.connections.len() - self.idle.len() + late) as u64;
        Ok(self.tally.finish(start.elapsed().as_secs_f64()))
    }

    /// A timer that is ready once per request of an open loop.
    fn timer(&self, rate: f64) -> Result<(OwnedFd, Duration)> {
        // The kernel may ring a timer late by 50 µs to save wake-ups; that would be taken for the server's latency.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).context("ask for exact timers")?;
        let interval = Duration::from_secs_f64(1.0 / rate);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let every = Timespec::try_from(interval).context("a rate of less than one in years")?;
        let times = Itimerspec { it_interval: every, it_value: every };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        epoll::add(&self.epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok((timer, interval))
    }

    /// Requests became due.
    fn tick(&mut self, timer: &OwnedFd, interval: Duration, start: Instant, end: Instant) -> Result<()> {
        let mut count = [0; 8];
        rustix::io::read(timer, &mut count).context("read the timer")?;
        for _ in 0..u64::from_ne_bytes(count) {
            self.due += 1;
            let due = start + interval.mul_f64(self.due as f64);
            if due < end {
                self.waiting.push_back(due);
            }
        }
        self.send_waiting()
    }

    fn send_waiting(&mut self) -> Result<()> {
        while self.sent < self.order.requests_max
            && let Some(&due) = self.waiting.front()
            && let Some(index) = self.idle.pop()
        {
            self.waiting.pop_front();
            self.ask(index, due)?;
        }
        self.tally.outcome.waiting_max = self.tally.outcome.waiting_max.max(self.waiting.len());
        Ok(())
    }

    /// A request on every idle connection of a closed loop.
    fn ask_all(&mut self, now: Instant) -> Result<()> {
        while self.sent < self.order.requests_max
            && let Some(index) = self.idle.pop()
        {
            self.ask(index, now)?;
        }
        Ok(())
    }

    /// Sends the next request on a connection that is idle no more.
    fn ask(&mut self, index: usize, due: Instant) -> Result<()> {
        let which = usize::try_from(self.sent % self.order.requests.len() as u64).unwrap_or(0);
        self.sent += 1;
        let connection = &mut self.connections[index];
        connection.asked = Some(due);
        if connection.stream.write_all(&self.order.requests[which]).is_err() {
            return self.renew(index);
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, end: Instant) -> Result<()> {
        let connection = &mut self.connections[index];
        let mut room = [0; 16 << 10];
        match connection.stream.read(&mut room) {
            Ok(0) | Err(_) => {
                self.renew(index)?;
                return self.go_on(index, end);
            }
            Ok(count) => connection.received.extend_from_slice(&room[..count]),
        }
        let Order { protocol, address, expect, note, .. } = self.order;
        let garbled = |wire::Garbled| anyhow::anyhow!("what {address} answers is not {protocol:?}");
        let Some(answer) = protocol.answer(&connection.received).map_err(garbled)? else {
            if connection.received.len() > ANSWER_BYTES_MAX {
                bail!("{address} answers with more than {ANSWER_BYTES_MAX} bytes");
            }
            return Ok(());
        };
        let Some(asked) = connection.asked.take() else { bail!("{address} answers without being asked") };
        let good = answer.status == 200 && (expect.is_empty() || memchr::memmem::find(answer.body, expect).is_some());
        let nanos = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.tally.answer(nanos, answer.status, good);
        if let Some(header) = note {
            self.tally.note(wire::field(answer.head, header).unwrap_or_default(), answer.body);
        }
        let closes = wire::field(answer.head, "connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
        connection.received.drain(..answer.length);
        self.breaks = 0;
        if closes {
            self.replace(index)?;
        }
        self.go_on(index, end)
    }

    /// The connection is free: what waits is sent, or in a closed loop the next request.
    fn go_on(&mut self, index: usize, end: Instant) -> Result<()> {
        let now = Instant::now();
        self.idle.push(index);
        match self.order.rate {
            Some(_) => self.send_waiting(),
            None if now < end => self.ask_all(now),
            None => Ok(()),
        }
    }

    /// A connection broke. That is counted if a request was under way.
    fn renew(&mut self, index: usize) -> Result<()> {
        if self.connections[index].asked.take().is_some() {
            self.tally.outcome.broken += 1;
        }
        self.breaks += 1;
        if self.breaks > BREAKS_MAX {
            bail!("{} breaks every connection", self.order.address);
        }
        self.replace(index)
    }

    fn replace(&mut self, index: usize) -> Result<()> {
        // The old one leaves the epoll when it is closed.
        let stream = self.open(index)?;
        self.connections[index] = Connection { stream, received: Vec::with_capacity(4096), asked: None };
        Ok(())
    }
}
