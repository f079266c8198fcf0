//! Load for benchmarks: one thread, plain sockets, as little work per request as a generator can do.
//!
//! A generator shares the machine with the server it measures, so what it costs is missing there. This one takes some
//! 6 µs of processor time per request, nearly all of it in the kernel, and speaks to every server in the same way: HTTP/1.1
//! with keep-alive, or Redis' protocol.
//!
//! A **closed** loop asks again on a connection as soon as it has its answer. That shows what a server can do at most, and
//! its latencies are those of a server at its limit; a server that stalls is asked less, so its stalls are under-counted
//! (coordinated omission). An **open** loop ([`drive::Order::rate`]) sends at a fixed rate whatever the answers do, and
//! counts each latency from the moment at which the request was due.

pub mod drive;
pub mod outcome;
pub mod wire;
