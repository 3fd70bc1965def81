//! What reading one call costs: the cipher, bodies, envelopes, the catalogue. `cargo bench --bench decode`.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use leqi_gateway::leqi::{self, Sm4Key, catalogue};

/// How long each is repeated, this many times; the median counts.
const SAMPLE: Duration = Duration::from_millis(200);
const SAMPLES: usize = 9;

/// Prints the median time of one call of `work`.
fn measure<T>(what: &str, bytes: usize, mut work: impl FnMut() -> T) {
    let mut times: Vec<u128> = (0..SAMPLES)
        .map(|_| {
            let (start, mut calls) = (Instant::now(), 0_u128);
            while start.elapsed() < SAMPLE {
                for _ in 0..16 {
                    black_box(work());
                }
                calls += 16;
            }
            start.elapsed().as_nanos() / calls
        })
        .collect();
    times.sort_unstable();
    println!("{what:44} {bytes:6} bytes {:8} ns", times[SAMPLES / 2]);
}

fn main() {
    let key = Sm4Key::generate();
    // as long as the bodies of scripts/bench
    let json = format!(r#"{{"nsrsbh":"91440300MA5F00012E","bz":"{}"}}"#, "x".repeat(3000));
    let body = leqi::write_body(&key, json.as_bytes());
    let data = format!(r#"{{"returncode":"00","returnmsg":"成功","bz":"{}"}}"#, "x".repeat(600));
    let envelope = leqi::write_data("0123456789abcdef", &key, data.as_bytes());
    let refusal = leqi::write_error(200, "0123456789abcdef", "4067", "未授权的地址");
    let cipher = leqi::encrypt(&key, json.as_bytes());

    measure("SM4 encrypt", json.len(), || leqi::encrypt(&key, json.as_bytes()));
    measure("SM4 decrypt", cipher.len(), || leqi::decrypt(&key, &cipher));
    measure("request body: base64, SM4, JSON checked", body.len(), || leqi::read_body(&body, Some(&key)));
    measure("request body: JSON checked", json.len(), || leqi::read_body(json.as_bytes(), None));
    measure("answer: envelope read", envelope.len(), || leqi::read_envelope(&envelope));
    measure("answer: envelope read and Data opened", envelope.len(), || {
        leqi::read_envelope(&envelope).map(|envelope| envelope.open(&key))
    });
    measure("answer: refusal read", refusal.len(), || leqi::read_envelope(&refusal));
    measure("catalogue: a service", 6, || catalogue::service(black_box("QDFPSC")));
}
