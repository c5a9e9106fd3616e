//! The ledgers over databases keep the account that the one in memory keeps, call by call, whatever is asked of them and whatever the clock says.
#![cfg(all(feature = "sqlite", feature = "postgres"))]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/postgres.rs"]
mod server;
mod twin;

use folder::Folder;
use otagate::postgres::PostgresStore;
use otagate::rollout::{
    AsyncLedger, ClaimAsk, Claimed, Held, Ledger, MemoryLedger, Noted, Of, OfferAsk, Outcome, Report, Statistics,
};
use otagate::sqlite::{Durability, SqliteStore};
use otagate::*;
use server::Postgres;
use std::collections::BTreeMap;
use twin::draw::Draw;

/// One call of a ledger, drawn.
#[derive(Clone, Debug)]
enum Call {
    Held {
        run: Option<usize>,
        group: usize,
        serial: &'static str,
    },
    Claim {
        run: Option<usize>,
        group: usize,
        serial: &'static str,
        offer: Option<Offer>,
        downloads_max: Option<u32>,
        secs: i64,
    },
    Note {
        run: usize,
        serial: &'static str,
        attempt: Option<u32>,
        outcome: Outcome,
        resumes: u32,
        penalty: bool,
    },
    Release {
        group: usize,
        serial: &'static str,
    },
    Statistics {
        run: usize,
        resumes: u32,
    },
    Forget {
        run: usize,
    },
}

#[derive(Clone, Debug)]
struct Offer {
    wave: u32,
    hop: &'static str,
    slots_max: Option<u32>,
    missing: Option<u32>,
    after: After,
}

/// What an offer says that it was decided by.
#[derive(Clone, Copy, Debug)]
enum After {
    Nothing,
    /// What the ledger holds.
    Now,
    Stale,
}

/// What a call came to.
#[derive(Debug, PartialEq)]
enum Came {
    Held(Box<(store::StandingRecord, Option<otagate::rollout::Tried>)>),
    Claimed(Result<Claimed, ClaimRefused>),
    Noted(Noted),
    Statistics(Box<Statistics>),
    Done,
}

const SERIALS: &[&str] = &["1", "2", "3", "4", "a\u{e9}'\"", "%_"];
const HOPS: &[&str] = &["2.0", "1.5", ""];

fn call(draw: &mut Draw) -> Call {
    let (run, group, serial) = (draw.below(3) as usize, draw.below(2) as usize, draw.of(SERIALS));
    let maybe_run = (!draw.once_in(5)).then_some(run);
    match draw.below(20) {
        0..=2 => Call::Held { run: maybe_run, group, serial },
        3..=10 => {
            let after = [After::Nothing, After::Now, After::Stale][draw.below(3) as usize];
            let offer = (!draw.once_in(6)).then(|| Offer {
                wave: draw.below(4) as u32,
                hop: draw.of(HOPS),
                slots_max: draw.some(2, |draw| draw.below(5) as u32),
                missing: draw.some(5, |draw| draw.below(3) as u32),
                after,
            });
            let downloads_max = draw.some(2, |draw| draw.below(4) as u32);
            Call::Claim { run: maybe_run, group, serial, offer, downloads_max, secs: draw.below(4_000) as i64 }
        }
        11..=16 => Call::Note {
            run,
            serial,
            attempt: draw.some(2, |draw| draw.below(4) as u32),
            outcome: draw.of(&Outcome::ALL),
            resumes: draw.below(3) as u32,
            penalty: !draw.once_in(3),
        },
        17 => Call::Release { group, serial },
        18 => Call::Statistics { run, resumes: draw.below(3) as u32 },
        _ if draw.once_in(6) => Call::Forget { run },
        _ => Call::Statistics { run, resumes: 0 },
    }
}

/// Three runs in two groups.
fn runs() -> Vec<Run> {
    let run = |group: &str, rollout: &str, secs: i64| Run {
        product: ProductId::new("lamp").unwrap(),
        group: GroupId::new(group).unwrap(),
        rollout: RolloutId::new(rollout).unwrap(),
        started_at: Timestamp::from_millis(secs * 1_000),
    };
    vec![run("stable", "r7", 1), run("stable", "r7", 2), run("beta", "r'8", 1)]
}

/// Makes a call of any ledger; with `await` of an asynchronous one.
macro_rules! make {
    ($ledger:expr, $runs:expr, $call:expr, $held:expr, $now:expr $(, $await:tt)?) => {{
        let groups = [GroupId::new("stable").unwrap(), GroupId::new("beta").unwrap()];
        let product = ProductId::new("lamp").unwrap();
        // A run is one of the group that is asked about.
        let of = |run: &Option<usize>, group: usize| run.map_or(group, |run| usize::from(run == 2));
        match $call {
            Call::Held { run, group, serial } => {
                let group = &groups[of(run, *group)];
                let of = Of { product: &product, group, serial, run: run.map(|run| &$runs[run]) };
                let Held { standing, tried } = $ledger.held(&of, $now)$(.$await)?.unwrap();
                Came::Held(Box::new((standing, tried)))
            }
            Call::Claim { run, group, serial, offer, downloads_max, secs } => {
                let group = &groups[of(run, *group)];
                let of = Of { product: &product, group, serial, run: run.map(|run| &$runs[run]) };
                let offer = offer.as_ref().map(|offer| OfferAsk {
                    wave: offer.wave,
                    hop: offer.hop,
                    slots_max: offer.slots_max,
                    missing: offer.missing,
                    after: match offer.after {
                        After::Nothing => None,
                        After::Now => $held,
                        After::Stale => Some((9, Outcome::Failed)),
                    },
                });
                let until = $now.plus_secs(*secs);
                let ask = ClaimAsk { of, offer, downloads_max: *downloads_max, until };
                Came::Claimed($ledger.claim(&ask, $now)$(.$await)?.unwrap())
            }
            Call::Note { run, serial, attempt, outcome, resumes, penalty } => {
                let report = Report {
                    run: $runs[*run].clone(),
                    serial: (*serial).into(),
                    attempt: *attempt,
                    outcome: *outcome,
                    resumes: *resumes,
                    penalty: if *penalty { Penalty { secs: 60, secs_max: 600 } } else { Penalty { secs: 0, secs_max: 0 } },
                    grace_secs: 60,
                };
                Came::Noted($ledger.note(&report, $now)$(.$await)?.unwrap())
            }
            Call::Release { group, serial } => {
                let of = Of { product: &product, group: &groups[*group], serial, run: None };
                $ledger.release(&of, $now)$(.$await)?.unwrap();
                Came::Done
            }
            Call::Statistics { run, resumes } => {
                Came::Statistics(Box::new($ledger.statistics(&$runs[*run], *resumes)$(.$await)?.unwrap()))
            }
            Call::Forget { run } => {
                $ledger.forget(&$runs[*run])$(.$await)?.unwrap();
                Came::Done
            }
        }
    }};
}

/// The attempt that the twin holds, for offers that are decided by it.
fn held_by(twin: &MemoryLedger, runs: &[Run], call: &Call, now: Timestamp) -> Option<(u32, Outcome)> {
    let Call::Claim { run: Some(run), serial, .. } = call else { return None };
    let run = &runs[*run];
    let held = twin.held(&Of { product: &run.product, group: &run.group, serial, run: Some(run) }, now).unwrap();
    held.tried.map(|tried| (tried.number, tried.outcome))
}

/// A clock that mostly goes on, and now and then goes back, or far ahead.
fn tick(draw: &mut Draw, now: Timestamp) -> Timestamp {
    now.plus_secs(match draw.below(12) {
        0 => -(draw.below(2_000) as i64),
        1 => 3_600 + draw.below(5_000) as i64,
        _ => draw.below(600) as i64,
    })
}

/// What came up, so that a draw that never gets anywhere is seen.
#[derive(Default)]
struct Met(BTreeMap<String, u32>);

impl Met {
    fn see(&mut self, came: &Came) {
        let name = match came {
            Came::Claimed(claimed) => {
                format!("{claimed:?}").split("attempt: Some").next().unwrap_or_default().to_owned()
            }
            Came::Noted(noted) => format!("{noted:?}"),
            _ => return,
        };
        *self.0.entry(name).or_default() += 1;
    }

    fn enough(&self, least: u32) {
        for name in ["Err(Slots)", "Err(Downloads)", "Ok(Claimed { ", "Moved", "Known", "Foreign"] {
            let met = self.0.get(name).copied().unwrap_or(0);
            assert!(met >= least, "{name} came up {met} times: {:?}", self.0);
        }
    }
}

#[test]
fn sqlite_keeps_the_account_that_memory_keeps() {
    let (folder, runs, mut met) = (Folder::new("ledger"), runs(), Met::default());
    for seed in 0..300 {
        let draw = &mut Draw(seed);
        let twin = MemoryLedger::default();
        let store = SqliteStore::with(folder.path().join(format!("{seed}.db")), Durability::Process).unwrap();
        let mut now = Timestamp::from_millis(1_795_000_000_000);
        for step in 0..60 {
            now = tick(draw, now);
            let call = call(draw);
            let held = held_by(&twin, &runs, &call, now);
            let theirs = make!(twin, runs, &call, held, now);
            let ours = make!(store, runs, &call, held, now);
            assert_eq!(ours, theirs, "seed {seed}, step {step}: {call:?}");
            met.see(&theirs);
        }
    }
    met.enough(100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_the_account_that_memory_keeps() {
    let (server, runs, mut met) = (Postgres::start(), runs(), Met::default());
    let store = PostgresStore::connect(&server.conninfo(), 4).await.unwrap();
    for seed in 0..60 {
        let draw = &mut Draw(seed);
        let twin = MemoryLedger::default();
        server.psql("TRUNCATE otagate.run, otagate.attempt, otagate.count, otagate.place, otagate.downloads");
        let mut now = Timestamp::from_millis(1_795_000_000_000);
        for step in 0..60 {
            now = tick(draw, now);
            let call = call(draw);
            let held = held_by(&twin, &runs, &call, now);
            let theirs = make!(twin, runs, &call, held, now);
            let ours = make!(store, runs, &call, held, now, await);
            assert_eq!(ours, theirs, "seed {seed}, step {step}: {call:?}");
            met.see(&theirs);
        }
    }
    met.enough(20);
}
