//! The generator against servers that answer, stall, break and refuse.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test, and clippy knows only the test functions")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use loadgen::drive::{Order, drive};
use loadgen::outcome::Outcome;
use loadgen::wire::{Protocol, post};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Version: v1\r\nContent-Length: 4\r\n\r\ngood";

/// A server that answers the request number `n` of each connection with `answer(n)`, or breaks the connection.
fn server(answer: fn(usize) -> Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // They end with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: fn(usize) -> Option<&'static [u8]>) {
    let mut request = [0; 1024];
    for number in 0.. {
        // The generator writes its small requests whole, and the next only after the answer.
        if stream.read(&mut request).is_ok_and(|read| read > 0)
            && let Some(answer) = answer(number)
            && stream.write_all(answer).is_ok()
        {
            continue;
        }
        return;
    }
}

fn order(address: SocketAddr) -> Order {
    Order {
        address,
        protocol: Protocol::Http,
        requests: vec![post("server", "/", &[], b"{}")],
        connections: 4,
        // A bound, not a time that a test waits for.
        duration: Duration::from_secs(60),
        requests_max: 1000,
        rate: None,
        expect: Vec::new(),
        note: None,
    }
}

#[track_caller]
fn outcome(order: &Order) -> Outcome {
    drive(order).unwrap()
}

#[test]
fn a_closed_loop_sends_exactly_what_was_ordered() {
    let outcome = outcome(&order(server(|_| Some(ANSWER))));

    assert_eq!((outcome.requests, outcome.good, outcome.broken, outcome.unanswered), (1000, 1000, 0, 0));
    assert_eq!(outcome.statuses, [(200, 1000)].into());
    assert!(outcome.latency.p50 > 0.0 && outcome.latency.p50 <= outcome.latency.max);
}

#[test]
fn answers_are_told_apart_by_header_and_body() {
    let order = Order { note: Some("x-version".into()), ..order(server(|_| Some(ANSWER))) };

    let outcome = outcome(&order);

    let noted: Vec<_> = outcome.answers.iter().map(|noted| (&*noted.header, &*noted.body, noted.count)).collect();
    assert_eq!(noted, [("v1", "good", 1000)]);
}

#[test]
fn an_answer_without_the_wanted_text_is_not_good() {
    let order = Order { expect: b"better".to_vec(), ..order(server(|_| Some(ANSWER))) };

    let outcome = outcome(&order);

    assert_eq!((outcome.requests, outcome.good), (1000, 0));
}

#[test]
fn a_connection_that_breaks_is_counted_and_made_anew() {
    let every_tenth_breaks = |number| (number % 10 != 9).then_some(ANSWER);

    let outcome = outcome(&Order { connections: 1, ..order(server(every_tenth_breaks)) });

    assert_eq!((outcome.requests, outcome.broken), (900, 100));
}

#[test]
fn an_open_loop_counts_latency_from_when_a_request_was_due() {
    const STALL: Duration = Duration::from_millis(200);
    let first_is_slow = |number| {
        if number == 0 {
            thread::sleep(STALL);
        }
        Some(ANSWER)
    };
    let order = Order { connections: 1, requests_max: 100, rate: Some(1000.0), ..order(server(first_is_slow)) };

    let outcome = outcome(&order);

    // All were due within the first half of the stall; a generator that waits to ask would see one slow answer.
    assert_eq!(outcome.requests, 100);
    assert!(outcome.latency.p50 >= 50_000.0, "{:?}", outcome.latency);
    assert!(outcome.waiting_max > 50, "{}", outcome.waiting_max);
}

#[test]
fn a_server_that_breaks_every_connection_is_given_up() {
    let error = drive(&order(server(|_| None))).unwrap_err();

    assert!(error.to_string().ends_with("breaks every connection"), "{error}");
}
