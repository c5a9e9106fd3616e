//! A feed of one's own, over plain files: a fleet that some other program keeps as lines of JSON, and an index that follows them.
//!
//! `cargo run --example file_feed`
//!
//! `snapshot.jsonl` has everything as of one revision, which its first line says; `log.jsonl` beside it grows by a row for each that changes, with its revision.
//! When the log is too long the other program writes a new snapshot, and begins the log again: the log's first line says after which revision. Both are put in
//! place by renaming, the snapshot first.
//!
//! The file ends in the middle of a line now and then, since nobody writes a line at once: such a line is not there yet. So that half of a revision is never
//! taken, the rows of one revision are written together, and followed by a line that says that it is whole.

use otagate::feed::{Changes, Feed, Follower, Loading, Patch};
use otagate::*;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where a file begins (`after`: all later rows are here), or where a revision ends (`whole`).
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mark {
    After(Revision),
    Whole(Revision),
}

/// A row, or the end of a revision.
type Line = Result<Row, Revision>;

struct FileFeed {
    folder: PathBuf,
    /// How long the log was when it was looked at last.
    seen: u64,
}

impl FileFeed {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), seen: 0 }
    }

    /// The marks and rows of a file, up to its last whole line, and how long it is.
    fn read(&self, name: &str) -> io::Result<(Revision, Vec<Line>, u64)> {
        let mut text = Vec::new();
        let length = File::open(self.folder.join(name))?.read_to_end(&mut text)? as u64;
        // A line that has no end yet is not there yet.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].split_inclusive(|byte| *byte == b'\n');
        let Some(Mark::After(after)) = lines.next().and_then(|line| serde_json::from_slice(line).ok()) else {
            return Err(io::Error::other(format!("{name} does not say after which revision it is")));
        };
        let rows = lines.map(|line| match serde_json::from_slice(line) {
            Ok(Mark::Whole(revision)) => Ok(Err(revision)),
            Ok(Mark::After(_)) => Err(io::Error::other(format!("{name} begins twice"))),
            // A line that is no row at all is a fault of the file: nothing after it can be trusted. A row whose value is wrong is not, it is kept out.
            Err(_) => Ok(Ok(serde_json::from_slice(line).map_err(io::Error::other)?)),
        });
        Ok((after, rows.collect::<io::Result<_>>()?, length))
    }
}

impl Feed for FileFeed {
    type Error = io::Error;

    fn load(&mut self) -> io::Result<Loading> {
        let (revision, rows, _) = self.read("snapshot.jsonl")?;
        self.seen = 0;
        Ok(Loading::new(revision, rows.into_iter().flatten().collect()))
    }

    fn changes(&mut self, after: Revision) -> io::Result<Changes> {
        let (from, lines, length) = self.read("log.jsonl")?;
        self.seen = length;
        // It was begun again since: what came in between is in the snapshot.
        if after < from {
            return Ok(Changes::Unknown);
        }
        let (mut revision, mut rows, mut whole) = (from, Vec::new(), 0);
        for line in lines {
            match line {
                Ok(row) if row.revision > after => rows.push(row),
                Ok(_) => {}
                Err(at) => (revision, whole) = (at, rows.len()),
            }
        }
        // Rows of a revision that is not whole yet are not there yet.
        rows.truncate(whole);
        match revision.cmp(&after) {
            std::cmp::Ordering::Equal => Ok(Changes::None),
            std::cmp::Ordering::Less => Ok(Changes::Unknown), // somebody set it back
            std::cmp::Ordering::Greater => Ok(Changes::Patch(Patch { after, revision, rows })),
        }
    }

    fn wait(&mut self, up_to: Duration) {
        let until = Instant::now() + up_to;
        // Longer or shorter: it grew, or was begun again.
        let same = || fs::metadata(self.folder.join("log.jsonl")).is_ok_and(|file| file.len() == self.seen);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5).min(up_to));
            if !same() && self.folder.join("log.jsonl").exists() {
                return;
            }
        }
    }
}

/// The other program.
struct Keeper {
    folder: PathBuf,
    revision: u64,
}

impl Keeper {
    /// Everything anew, and the log begun again. A file that is renamed is there whole, or not yet.
    fn snapshot(&self, rows: &[Row]) -> io::Result<()> {
        let head = line(&Mark::After(Revision(self.revision)));
        let rows = rows.iter().map(line).collect::<String>();
        for (name, text) in [("snapshot.jsonl", head.clone() + &rows), ("log.jsonl", head)] {
            fs::write(self.folder.join("new"), text)?;
            fs::rename(self.folder.join("new"), self.folder.join(name))?;
        }
        Ok(())
    }

    fn append(&self, text: &str) -> io::Result<()> {
        OpenOptions::new().append(true).open(self.folder.join("log.jsonl"))?.write_all(text.as_bytes())
    }

    /// The lines of the next revision.
    fn next(&mut self, rows: Vec<Row>) -> String {
        self.revision += 1;
        let at = Revision(self.revision);
        rows.into_iter().map(|row| line(&row.at(at))).collect::<String>() + &line(&Mark::Whole(at))
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

fn device(serial: &str, group: &str) -> Row {
    let spec =
        DeviceSpec { serial: serial.into(), state: DeviceState::Verified, group: group.into(), ..Default::default() };
    Row::device("lamp", spec)
}

fn group(id: &str, firmware: Option<&str>) -> Row {
    Row::group("lamp", GroupSpec { id: id.into(), firmware: firmware.map(Into::into), ..Default::default() })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("otagate-file-feed-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let shown = show(&folder);
    fs::remove_dir_all(&folder)?;
    shown
}

fn show(folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let lamp = Row::product(ProductSpec { id: "lamp".into(), ..Default::default() });
    let mut keeper = Keeper { folder: folder.to_owned(), revision: 1 };
    let all = [lamp, group("stable", None), device("1", "stable")];
    keeper.snapshot(&all)?;

    let index = Index::new(&Fleet::default());
    let (mut follower, mut feed) = (Follower::new(index.clone()), FileFeed::new(folder));
    let status = follower.status();
    let tell = |what: &str| {
        let (revision, devices) = (index.revision().0, index.snapshot().devices_len());
        println!("{what}: revision {revision}, {devices} devices, {} kept out", status.kept_out().len());
    };
    follower.sync(&mut feed)?;
    tell("loaded");

    // Another thread writes, a revision every few milliseconds; this one follows until it has them all.
    let last = keeper.revision + 20;
    let writer = std::thread::spawn(move || -> io::Result<Keeper> {
        for number in 2..=21 {
            let text = keeper.next(vec![device(&number.to_string(), "stable")]);
            keeper.append(&text)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(keeper)
    });
    let end = Instant::now() + Duration::from_secs(60);
    follower.follow(&mut feed, Duration::from_millis(100), || index.revision().0 >= last || Instant::now() > end);
    keeper = writer.join().map_err(|_| "the writer panicked")??;
    tell("followed");

    // A line is there once it is whole, a revision once all of its lines are.
    let text = keeper.next(vec![device("22", "stable"), device("23", "stable")]);
    let (half, rest) = text.split_at(text.find('\n').unwrap_or(0) / 2);
    keeper.append(half)?;
    follower.sync(&mut feed)?;
    tell("half a line");
    let (line, rest) = rest.split_at(rest.find('\n').map_or(0, |end| end + 1));
    keeper.append(line)?;
    follower.sync(&mut feed)?;
    tell("half a revision");
    keeper.append(rest)?;
    follower.sync(&mut feed)?;
    tell("the rest");

    // A device in a state that there is none of; another row of the same revision is taken.
    let text = keeper.next(vec![device("24", "stable"), device("25", "stable")]);
    keeper.append(&text.replacen("verified", "lost", 1))?;
    follower.sync(&mut feed)?;
    tell("a bad row");
    status.kept_out().iter().for_each(|kept| println!("  {kept}"));
    let text = keeper.next(vec![device("24", "stable")]);
    keeper.append(&text)?;
    follower.sync(&mut feed)?;
    tell("it is put right");

    // A new snapshot, of a revision that the old log never told of.
    keeper.revision += 1;
    keeper.snapshot(&all)?;
    follower.sync(&mut feed)?;
    tell("the log was begun again");
    println!("{} loads, {} faults", status.loads(), status.faults());
    Ok(())
}
