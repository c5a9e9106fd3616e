//! What every bench needs: interleaved rounds, medians, and a summary file into which each part merges its figures.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each bench uses its part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

/// Figures of one part, by flat key.
#[derive(Default)]
pub struct Summary {
    figures: BTreeMap<String, f64>,
}

impl Summary {
    pub fn put(&mut self, key: impl Into<String>, figure: f64) {
        let key = key.into();
        println!("{key:<40} {figure:>12.3}");
        self.figures.insert(key, figure);
    }

    /// Merges the figures into `target/bench/summary.json`, keeping those of other parts.
    pub fn write(self) {
        let target =
            std::env::current_exe().unwrap().ancestors().find(|dir| dir.ends_with("target")).map(PathBuf::from);
        let path = target.unwrap_or_else(|| "target".into()).join("bench/summary.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let held = std::fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
        let mut all: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&held).expect("summary.json is a flat object");
        all.extend(
            self.figures
                .into_iter()
                .map(|(key, figure)| (key, serde_json::json!((figure * 1_000.0).round() / 1_000.0))),
        );
        std::fs::write(&path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
        println!("merged into {}", path.display());
    }
}

/// Runs the subjects in turn, round by round, so that a machine that slows down slows all of them; gives each one's median in nanoseconds per item.
pub fn medians<const N: usize>(rounds: usize, items: usize, mut subjects: [&mut dyn FnMut(); N]) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    // The first round warms up.
    for round in 0..=rounds {
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            let start = Instant::now();
            subject();
            let nanos = start.elapsed().as_nanos() as f64 / items as f64;
            if round > 0 {
                times.push(nanos);
            }
        }
    }
    times.map(median)
}

pub fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[(values.len() as f64 * share) as usize]
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
