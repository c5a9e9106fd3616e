//! Whole fleets in virtual time: how would this rollout go?
//!
//! ```text
//!   fleet + Plan ──▶ from tick to tick ──▶ Course, one for each seed ──▶ Bands ──▶ Comparison of plans
//!   World ──────────▶  between ticks: operators, joiners, the conductor
//!   seed ───────────▶  in a tick: quiet check-ins on all threads, then loud deeds in order
//! ```
//!
//! A [`World`] says how devices ask, download, install and fail; a [`Plan`] what an operator would do. Every check-in is decided by the code that a gateway decides by, every offer
//! is claimed in a ledger, and a [`Conductor`](crate::rollout::Conductor) opens waves, halts and completes: the simulator has devices and a clock, and no rule of its own. The same
//! fleet, plan, world and seed give the same [`Course`], byte for byte, on any machine and any number of threads.
//!
//! ```
//! use otagate::simulate::{Plan, Simulation, World};
//! use otagate::*;
//!
//! # let digests = Digests::blake3_of(b"an image");
//! # let firmware = |version: &str| FirmwareSpec { version: version.into(), artifacts: vec![ArtifactSpec { locator: version.into(), size_bytes: 1_000_000, digests, ..Default::default() }], ..Default::default() };
//! # let devices = (0..1_000).map(|n| DeviceSpec { serial: format!("SN-{n}"), state: DeviceState::Verified, group: "stable".into(), version: Some("1.0".into()), ..Default::default() });
//! let fleet = FleetSpec {
//!     products: vec![ProductFleetSpec {
//!         product: ProductSpec { id: "lamp".into(), keys: vec![ApiKey::new(KeyHash::of(b"secret").unwrap())], ..Default::default() },
//!         firmware: vec![firmware("1.0"), firmware("2.0")],
//!         groups: vec![GroupSpec { id: "stable".into(), firmware: Some("1.0".into()), ..Default::default() }],
//!         devices: devices.collect(), // a thousand that run 1.0
//!     }],
//!     ..Default::default()
//! }.build()?;
//!
//! let now = Timestamp::parse("2026-11-24T08:00:00Z").unwrap();
//! let mut last = Wave::new(WaveSize::All);
//! last.gate = Gate { min_finished: Some(10), success_share_bps: Some(9_000), ..Default::default() };
//! let waves = vec![Wave::new(WaveSize::First(10)), last];
//! let rollout = RolloutSpec::new("r2", TargetSpec::Firmware("2.0".into()), waves);
//! let (lamp, stable) = (ProductId::new("lamp").unwrap(), GroupId::new("stable").unwrap());
//! let plan = Plan::rollout("ten first", &lamp, &stable, rollout, now).unwrap();
//!
//! let (index, world) = (Index::new(&fleet), World { lasts_secs: 86_400, ..World::default() });
//! let course = Simulation::new(&index, &world, now).course(&plan, 1).unwrap();
//! assert_eq!(course.rollouts[0].adopted, 1_000);
//! assert_eq!(course.rollouts[0].waves[0].outcomes.installed, 10);
//! assert_eq!(course.bytes, 1_000_000_000);
//! # Ok::<(), Problems>(())
//! ```
//!
//! # What is simulated, and what is not
//!
//! - Firmware. A rollout of a config or of resources moves by its gates, and no device asks for it.
//! - Devices that may not ask, such as blocked ones, ask all the same, and are told so. Each asks under the first of its product's keys that is valid when the simulation begins.
//! - A download takes the artifact's size by the device's speed, is not broken off, and its device does not ask meanwhile.
//! - The conductor looks at every tick, and not after outcomes as well, as the gateway does: a wave opens at most a tick later.
//! - What a device reports of its version is known to the next census.

mod course;
mod draw;
mod loud;
mod plan;
mod population;
mod run;
mod shard;
mod track;
mod wheel;
mod world;

pub use course::{
    Band, BandOverTime, Bands, Comparison, Course, Event, Load, Outlook, Reached, RolloutCourse, TIMED_SHARES_BPS,
    WaveCourse,
};
pub use draw::{Quantiles, Spread};
pub use plan::Plan;
pub use world::{Action, Failure, First, How, Joiners, LASTS_SECS_MAX, Offline, Outage, Rhythm, World};

use crate::fleet::{Problems, ProductId};
use crate::index::Index;
use crate::time::Timestamp;
use population::Population;
use run::Setting;
use serde::{Deserialize, Serialize};
use shard::{Common, Shard, Told};
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why there is no simulation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The world cannot be.
    #[error("the world: {0}")]
    World(Problems),
    /// What a plan does at the beginning is refused.
    #[error("plan `{}`: {problems}", .plan.escape_debug())]
    Plan {
        /// The plan.
        plan: String,
        /// Why.
        problems: Problems,
    },
}

/// Something that a device did in a simulation: what is needed to do it again elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When.
    pub at: Timestamp,
    /// The product.
    pub product: ProductId,
    /// The canonical serial.
    pub serial: String,
    /// What.
    pub what: What,
}

/// What a device did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum What {
    /// It asked.
    CheckIn {
        /// The version that it reported; empty: none.
        version: String,
        /// The hardware; empty: none.
        hardware: String,
        /// The status that it was told.
        status: u16,
        /// The reason, by name.
        reason: String,
        /// What it was told of when to ask again.
        retry_after_secs: Option<u32>,
        /// The firmware that it was served.
        firmware: Option<String>,
    },
    /// It has the last byte of what it was served last.
    Downloaded,
    /// It said that the installation failed.
    Failed,
}

impl Happening {
    fn told(told: &Told, common: &Common<'_>, shards: &[Shard], products: &[ProductId]) -> Option<Self> {
        let of = shards.len() as u32;
        let shard = shards.get((told.device % of) as usize)?;
        let row = shard.rows.get((told.device / of) as usize)?;
        Some(Self {
            at: Timestamp::from_millis(common.starts_at.millis().saturating_add(told.at)),
            product: products.get(row.product as usize)?.clone(),
            serial: String::from_utf8_lossy(shard.serial(row)).into_owned(),
            what: What::CheckIn {
                version: common.texts.text(told.version).to_owned(),
                hardware: common.texts.text(told.hardware).to_owned(),
                status: told.reason.status(),
                reason: told.reason.name().to_owned(),
                retry_after_secs: told.retry_after_secs,
                firmware: told.firmware.as_deref().map(str::to_owned),
            },
        })
    }
}

/// A fleet in a world, from a moment on, for any number of plans and seeds. The fleet stays as it is.
pub struct Simulation<'a> {
    index: &'a Index,
    world: &'a World,
    starts_at: Timestamp,
    threads: usize,
    progress: &'a (dyn Fn(f64) + Sync),
}

impl<'a> Simulation<'a> {
    /// A simulation on one thread that tells nobody how far it is.
    pub fn new(index: &'a Index, world: &'a World, starts_at: Timestamp) -> Self {
        Self { index, world, starts_at, threads: 1, progress: &|_| {} }
    }

    /// On so many threads. What comes out is the same.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// Tells how much is done, from 0 to 1, from any thread, once a tick.
    pub fn progress(self, progress: &'a (dyn Fn(f64) + Sync)) -> Self {
        Self { progress, ..self }
    }

    /// Runs one plan with one seed.
    ///
    /// Costs about a third of a microsecond of processor time for each check-in, some microseconds for each offer, and about 650 bytes for each device where all are offered
    /// something (`make bench ONLY=simulate`).
    ///
    /// # Errors
    /// The world cannot be; what the plan does at the beginning is refused.
    pub fn course(&self, plan: &Plan, seed: u64) -> Result<Course, Fault> {
        Ok(self.run(plan, seed, false)?.0)
    }

    /// The same, with everything that devices did, in the order of time: to be done again against something else. For small fleets: some hundred bytes for each check-in.
    ///
    /// # Errors
    /// As [`course`](Self::course).
    pub fn recorded(&self, plan: &Plan, seed: u64) -> Result<(Course, Vec<Happening>), Fault> {
        self.run(plan, seed, true)
    }

    fn run(&self, plan: &Plan, seed: u64, records: bool) -> Result<(Course, Vec<Happening>), Fault> {
        self.world.check().map_err(Fault::World)?;
        let population = Population::of(&self.index.snapshot(), self.world, self.starts_at);
        let whole = self.whole();
        let progress = |done: u64| (self.progress)(done as f64 / whole);
        run::run(&self.setting(&population, self.threads, &progress), plan, seed, records)
    }

    /// Runs every plan with every seed, and puts them side by side. The runs share the threads; with fewer runs than threads each has several.
    ///
    /// # Errors
    /// As [`course`](Self::course), for any of them.
    pub fn compare(&self, plans: &[Plan], seeds: &[u64]) -> Result<Comparison, Fault> {
        self.world.check().map_err(Fault::World)?;
        let population = Population::of(&self.index.snapshot(), self.world, self.starts_at);
        let jobs: Vec<(usize, u64)> =
            (0..plans.len()).flat_map(|plan| seeds.iter().map(move |seed| (plan, *seed))).collect();
        let workers = self.threads.min(jobs.len()).max(1);
        let each = self.threads / workers;
        let whole = self.whole() * jobs.len().max(1) as f64;
        let done_in_all = AtomicU64::new(0);
        let work = Mutex::new(jobs.iter().copied().enumerate().collect::<VecDeque<_>>());
        let came = Mutex::new(vec![None; jobs.len()]);
        let worker = || loop {
            let job = work.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front();
            let Some((at, (plan, seed))) = job else { return };
            let told = AtomicU64::new(0);
            let progress = |done: u64| {
                let more = done - told.swap(done, Ordering::Relaxed);
                let all = done_in_all.fetch_add(more, Ordering::Relaxed) + more;
                (self.progress)(all as f64 / whole);
            };
            let course = run::run(&self.setting(&population, each, &progress), &plans[plan], seed, false);
            came.lock().unwrap_or_else(|poisoned| poisoned.into_inner())[at] = Some(course.map(|(course, _)| course));
        };
        std::thread::scope(|scope| {
            (1..workers).for_each(|_| drop(scope.spawn(worker)));
            worker();
        });
        let came = came.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let courses: Vec<Course> = came.into_iter().flatten().collect::<Result<_, _>>()?;
        let mut outlooks = Vec::new();
        for (plan, courses) in plans.iter().zip(courses.chunks(seeds.len().max(1))) {
            let Some(course) = courses.first() else { continue };
            outlooks.push(Outlook { plan: plan.name.clone(), course: course.clone(), bands: Bands::of(courses) });
        }
        let ends_at =
            Timestamp::from_millis(self.starts_at.millis().saturating_add(run::millis(self.world.lasts_secs)));
        Ok(Comparison { starts_at: self.starts_at, ends_at, seeds: seeds.to_vec(), plans: outlooks })
    }

    fn whole(&self) -> f64 {
        self.world.lasts_secs.max(1) as f64 * 1_000.0
    }

    fn setting<'s>(
        &'s self,
        population: &'s Population,
        threads: usize,
        progress: &'s (dyn Fn(u64) + Sync),
    ) -> Setting<'s> {
        Setting { index: self.index, population, world: self.world, starts_at: self.starts_at, threads, progress }
    }
}

impl std::fmt::Debug for Simulation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("starts_at", &self.starts_at)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
