//! Check-ins over HTTP on loopback: eight connections that are kept, each with one request under way, random devices.

use super::common::Random;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: u64 = 8;

/// Answers per second over that time. Every answer is a 304.
pub(crate) fn per_second(address: &str, target: impl Fn(u64) -> String + Sync, secs: u64) -> f64 {
    let answers = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (answers, target) = (&answers, &target);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut random, mut line) = (Random(connection), String::new());
                while begun.elapsed() < Duration::from_secs(secs) {
                    let request = format!("GET {} HTTP/1.1\r\nHost: gateway\r\n\r\n", target(random.next()));
                    stream.write_all(request.as_bytes()).unwrap();
                    let mut first = true;
                    loop {
                        line.clear();
                        assert!(reader.read_line(&mut line).unwrap() > 0, "the gateway hung up");
                        if std::mem::take(&mut first) {
                            assert!(line.starts_with("HTTP/1.1 304"), "{line}");
                        }
                        if line == "\r\n" {
                            break;
                        }
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    answers.into_inner() as f64 / begun.elapsed().as_secs_f64()
}
