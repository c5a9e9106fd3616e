//! How long does a fleet file with a million devices take to load?
//!
//! Dimensions: rows (1 M, with six columns, MAC serials in random order), one product with a running rollout of which the first wave is counted at load, and the lint.
//! What is timed is `fleet_file::load`; the answer is asserted. Beside it, the same bytes read and split into rows and cells by the `csv` crate alone.
//!
//! `make bench ONLY=load`

#[path = "common/mod.rs"]
mod common;

use common::{Random, Summary, median};
use otagate::{Timestamp, fleet_file};
use std::fmt::Write as _;
use std::time::Instant;

const ROWS: usize = 1_000_000;
const ROUNDS: usize = 5;

const FLEET: &str = r#"
[[product]]
id = "thermostat"
serials = "mac"
versions = { scheme = "semver" }
devices = "devices.csv"
[[product.key]]
key = "secret"
[[product.firmware]]
version = "1.4.0"
artifact = [{ locator = "a", size_bytes = 1, blake3 = "0000000000000000000000000000000000000000000000000000000000000000" }]
[[product.firmware]]
version = "2.0.0"
artifact = [{ locator = "b", size_bytes = 1, blake3 = "1111111111111111111111111111111111111111111111111111111111111111" }]
[[product.group]]
id = "default"
firmware = "1.4.0"
[product.group.rollout]
id = "r7"
target = "2.0.0"
state = "running"
started_at = 2026-11-01T00:00:00Z
waves = [{ size = 300, open = true }, { size = "all" }]
"#;

fn main() {
    let dir = std::env::temp_dir().join(format!("otagate-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut random = Random(7);
    let mut rows = String::from("serial,state,group,entered_at,version,hardware\n");
    for _ in 0..ROWS {
        writeln!(rows, "{:012x},verified,default,2026-01-01T00:00:00Z,1.4.0,rev-a", random.next() >> 16).unwrap();
    }
    std::fs::write(dir.join("fleet.toml"), FLEET).unwrap();
    std::fs::write(dir.join("devices.csv"), &rows).unwrap();
    let (mut ours, mut cells) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let loaded = fleet_file::load(&dir.join("fleet.toml"), Timestamp::from_millis(1_795_392_000_000)).unwrap();
        ours.push(start.elapsed().as_secs_f64());
        assert_eq!(loaded.fleet.products().map(|product| product.devices().len()).sum::<usize>(), ROWS);
        assert_eq!(loaded.counted[0].census.counted, 300);
        let start = Instant::now();
        let mut record = csv::ByteRecord::new();
        let mut reader = csv::Reader::from_path(dir.join("devices.csv")).unwrap();
        let mut count = 0;
        while reader.read_byte_record(&mut record).unwrap() {
            count += record.len();
        }
        cells.push(start.elapsed().as_secs_f64());
        assert_eq!(count, 6 * ROWS);
    }
    std::fs::remove_dir_all(&dir).unwrap();
    let (ours, cells) = (median(ours), median(cells));
    let mut summary = Summary::default();
    summary.put("load_csv_1m_s", ours);
    summary.put("load_csv_1m_rows_per_s", ROWS as f64 / ours);
    summary.put("load_csv_1m_vs_splitting", ours / cells);
    summary.write();
}
