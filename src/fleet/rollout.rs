//! Rollouts as values: waves with frozen thresholds, gates, and what was last known of their progress (R1, R3, R4, R6, R7).
//!
//! A rollout is data. Whose turn it is, is asked in `decide/turn.rs`; what may happen to it, in `change.rs`.

use super::Product;
use super::group::{Config, ConfigSpec, Resource, ResourceSpec, build_resources};
use super::name::{GroupId, NAME_BYTES_MAX, ProductId, RolloutId, check_text};
use super::problem::Problems;
use super::version::Version;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The most waves of one rollout.
pub const WAVES_MAX: usize = 64;
/// The most serials on a first-list or an excluded list.
pub const LISTED_MAX: usize = 100_000;
/// The longest reason of a pause, in bytes.
pub const WHY_BYTES_MAX: usize = 1_024;
/// A whole, in basis points.
pub const SHARE_BPS_MAX: u16 = 10_000;

/// Where a rollout stands (R7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", deny_unknown_fields)]
pub enum RolloutState {
    /// Being written; no device sees it.
    #[default]
    Draft,
    /// Waves open and offers are made.
    Running,
    /// No new offers; who holds a live claim keeps it, unless the operator cuts.
    Paused {
        /// Live claims are cut as well.
        #[serde(default)]
        cut: bool,
        /// Why, in the operator's or the gate's words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
    /// The target is the group's baseline.
    Completed,
    /// Given up; the group keeps its fate.
    Aborted,
}

/// How large a wave is; cumulative (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaveSize {
    /// The first so many of the counted devices.
    First(u32),
    /// That share of the counted devices in basis points, 1 to 10 000, rounded up.
    ShareBps(u16),
    /// Everybody; needs no census.
    All,
}

/// Late joiners: who entered the group after the rollout started (R4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Late {
    /// Their rank decides.
    #[default]
    Open,
    /// Only in the last wave.
    Tail,
}

/// Who gets into an open wave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admission {
    /// Whose rank is within the threshold (R3).
    #[default]
    Rank,
    /// Who claims a slot first, in a ledger (R5). The size of a wave must be a count or `all`.
    FirstCome,
}

/// When a wave opens (R8): once all of its conditions hold. Without any it opens by the operator's hand alone; but for the first wave, for which starting the
/// rollout is that hand. What is asked of health is asked of the last open wave that admitted somebody: at least one of its devices must have finished, since 0
/// of 0 is no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// Not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Timestamp>,
    /// How many devices of the last wave must have finished; 1 where another condition asks for health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_finished: Option<u32>,
    /// The share of the finished that must have succeeded, in basis points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_share_bps: Option<u16>,
    /// How long it must have stayed good, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak_secs: Option<u32>,
}

/// The last statistics of the gate: what a trace can tell a waiting operator (V6). Counts are of devices of one wave, each device once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Progress {
    /// The wave that is judged, counted from 0: the last open one that admitted somebody.
    pub wave: u32,
    /// Devices that it was offered to.
    pub offered: u32,
    /// Devices that finished.
    pub finished: u32,
    /// Those of them that succeeded.
    pub succeeded: u32,
    /// Since when the gate is good, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub good_since: Option<Timestamp>,
}

/// Which outcome is success (R9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Success {
    /// The last byte was sent. For what no check-in reports back: resources, and configs of devices that send no digest.
    Downloaded,
    /// The device reported the target.
    #[default]
    Installed,
    /// The host said that it is healthy.
    Confirmed,
}

/// When a rollout halts itself (R8): when any of its conditions holds, counted over all open waves, each device as it stands now, by what came about since the
/// rollout was started or resumed last. Without any, never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Halt {
    /// As soon as so many devices failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// As soon as more than this share of the finished failed, in basis points...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_share_bps: Option<u16>,
    /// ... and at least so many have finished; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_finished: Option<u32>,
}

/// When a device counts as `missing` (R9): it was offered the same hop so often, the first time so long ago, and is elsewhere, be it
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Missing {
    /// How many offers; at least 1.
    pub offers: u32,
    /// How long since the first of them, in seconds.
    pub secs: u32,
}

impl Default for Missing {
    /// Three offers and an hour.
    fn default() -> Self {
        Self { offers: 3, secs: 3_600 }
    }
}

/// How long a device waits after it failed at a hop: twice as long each time that it fails there again (question 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Penalty {
    /// After the first failure, in seconds; 0: never.
    pub secs: u32,
    /// At most, in seconds.
    pub secs_max: u32,
}

impl Default for Penalty {
    /// An hour, at most a day.
    fn default() -> Self {
        Self { secs: 3_600, secs_max: 86_400 }
    }
}

impl Penalty {
    /// How many seconds a device waits that failed so often in a row at one hop.
    ///
    /// ```
    /// let penalty = otagate::Penalty { secs: 60, secs_max: 200 };
    /// assert_eq!([0, 1, 2, 3, 99].map(|failures| penalty.after(failures)), [0, 60, 120, 200, 200]);
    /// ```
    pub fn after(&self, failures: u32) -> u32 {
        let Some(doublings) = failures.checked_sub(1) else { return 0 };
        let secs = u64::from(self.secs) << doublings.min(31);
        // The minimum fits.
        u32::try_from(secs.min(self.secs_max.into())).unwrap_or(u32::MAX)
    }
}

/// What was frozen when a wave opened (R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// When.
    pub at: Timestamp,
    /// The highest rank that is in; none: nobody was counted. Means nothing for `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// How many devices were counted in, where a census was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<u64>,
    /// How many of those no wave before had admitted: a wave that adds nobody is not judged (R8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newcomers: Option<u64>,
    /// How many devices could have been, where a census was taken. Without it the count is expected, not exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eligible: Option<u64>,
}

/// One step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Its cumulative size.
    pub size: WaveSize,
    /// When it opens.
    #[serde(default)]
    pub gate: Gate,
    /// What was frozen, once it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
}

/// What a rollout moves its group to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetSpec {
    /// The firmware of this version.
    Firmware(String),
    /// This configuration.
    Config(ConfigSpec),
    /// These resources.
    Resources(Vec<ResourceSpec>),
}

/// A rollout as an operator writes it; [`build`](RolloutSpec::build) checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Its name.
    pub id: String,
    /// The salt of its ranks; the id unless one is given (R2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// What it moves the group to.
    pub target: TargetSpec,
    /// Where it stands.
    #[serde(default)]
    pub state: RolloutState,
    /// When it started; needed from `running` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Its waves; at least one.
    pub waves: Vec<Wave>,
    /// The rule for late joiners.
    #[serde(default)]
    pub late: Late,
    /// Who gets into an open wave.
    #[serde(default)]
    pub admission: Admission,
    /// Serials that are always first (R6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// Serials that never take part (R6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// Which outcome is success.
    #[serde(default, skip_serializing_if = "is_default")]
    pub success: Success,
    /// When it halts itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub halt: Halt,
    /// When a device counts as missing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: Missing,
    /// How long a device waits that failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub penalty: Penalty,
    /// When it completes itself, once its last wave is open; without any condition by the operator's hand alone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub complete: Gate,
    /// The last statistics of the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// How often it was resumed: the failures that count towards a halt are those since the last time. Written by [`ResumeRollout`](super::Change::ResumeRollout).
    #[serde(default, skip_serializing_if = "is_default")]
    pub resumes: u32,
    /// Grows whenever anything about the group's rollout changes, but for its progress: what several replicas compare before they move it on
    /// ([`ExpectRollout`](super::Change::ExpectRollout)). Written by the changes themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub edition: u64,
}

impl RolloutSpec {
    /// A draft to that target, in those waves; all else as it is by default.
    pub fn new(id: impl Into<String>, target: TargetSpec, waves: Vec<Wave>) -> Self {
        Self {
            id: id.into(),
            salt: None,
            target,
            state: RolloutState::Draft,
            started_at: None,
            waves,
            late: Late::default(),
            admission: Admission::default(),
            first: Vec::new(),
            excluded: Vec::new(),
            success: Success::default(),
            halt: Halt::default(),
            missing: Missing::default(),
            penalty: Penalty::default(),
            complete: Gate::default(),
            progress: None,
            resumes: 0,
            edition: 0,
        }
    }
}

impl Wave {
    /// A wave of that size that opens by hand.
    pub fn new(size: WaveSize) -> Self {
        Self { size, gate: Gate::default(), opened: None }
    }
}

/// A checked rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    pub(crate) id: RolloutId,
    pub(crate) salt: Option<Box<str>>,
    pub(crate) target: Target,
    pub(crate) state: RolloutState,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) waves: Vec<Wave>,
    pub(crate) late: Late,
    pub(crate) admission: Admission,
    /// Canonical, sorted.
    pub(crate) first: Vec<Box<str>>,
    /// Canonical, sorted.
    pub(crate) excluded: Vec<Box<str>>,
    pub(crate) success: Success,
    pub(crate) halt: Halt,
    pub(crate) missing: Missing,
    pub(crate) penalty: Penalty,
    pub(crate) complete: Gate,
    pub(crate) progress: Option<Progress>,
    pub(crate) resumes: u32,
    pub(crate) edition: u64,
}

/// One run of a rollout: what a ledger keeps its account under. A rollout that is written anew under an old name, and started again, is another run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The product.
    pub product: ProductId,
    /// The group.
    pub group: GroupId,
    /// The rollout.
    pub rollout: RolloutId,
    /// When it was started.
    pub started_at: Timestamp,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "product `{}`, group `{}`, rollout `{}`", self.product, self.group, self.rollout)
    }
}

/// One attempt of a device in a run: an offer that it was made, until it is made another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The run.
    pub run: Run,
    /// Which one of the device's, from 1.
    pub number: u32,
}

/// What a rollout moves its group to, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The firmware of this version.
    Firmware(Version),
    /// This configuration.
    Config(Config),
    /// These resources.
    Resources(Vec<Resource>),
}

impl RolloutSpec {
    /// Checks the rollout under its product's rules.
    ///
    /// # Errors
    /// Names and versions that are none; no wave, a share outside 1 to 10 000, counts or shares that shrink (R1), waves that are open behind a
    /// closed one, thresholds that shrink (R3), a first-come wave that is a share (R5), listed serials that name nobody, a serial both
    /// first and excluded (R6), no start from `running` on, a limit exceeded.
    pub fn build(&self, product: &Product) -> Result<Rollout, Problems> {
        let mut problems = Problems::default();
        let id = problems.check_one("id", RolloutId::new(&self.id));
        if let Some(salt) = &self.salt
            && !salt.is_empty()
        {
            problems.check_one("salt", check_text(salt, NAME_BYTES_MAX));
        }
        let target = match &self.target {
            TargetSpec::Firmware(text) => {
                problems.check_one("target.firmware", product.versions().version(text)).map(Target::Firmware)
            }
            TargetSpec::Config(config) => problems.check("target.config", config.build()).map(Target::Config),
            TargetSpec::Resources(list) => {
                problems.check("target.resources", build_resources(list)).map(Target::Resources)
            }
        };
        if let RolloutState::Paused { why, .. } = &self.state
            && !why.is_empty()
        {
            problems.check_one("state.why", check_text(why, WHY_BYTES_MAX));
        }
        check_waves(&self.waves, self.admission, &mut problems);
        check_gate("complete", &self.complete, &mut problems);
        if self.halt.failures == Some(0) {
            problems
                .add("halt.failures", "is 0, and no failure reaches that: give how many are too many, or leave it out");
        }
        if self.halt.failure_share_bps.is_some_and(|bps| bps >= SHARE_BPS_MAX) {
            problems.add(
                "halt.failure_share_bps",
                format!("is {SHARE_BPS_MAX} basis points or more, and no share exceeds that"),
            );
        }
        if self.halt.min_finished.is_some() && self.halt.failure_share_bps.is_none() {
            problems.add(
                "halt.min_finished",
                "says when a share counts, and there is none: give `failure_share_bps`, or leave it out",
            );
        }
        if self.missing.offers == 0 {
            problems.add("missing.offers", "is 0: a device that was offered nothing is not missing");
        }
        let draft = self.state == RolloutState::Draft;
        if !draft && self.state != RolloutState::Aborted && self.started_at.is_none() {
            problems.add("started_at", "is missing: a rollout that runs has started at some time");
        }
        if draft && self.waves.iter().any(|wave| wave.opened.is_some()) {
            problems.add("waves", "one is open, but the rollout is a draft");
        }
        let first = read_serials("first", &self.first, product, &mut problems);
        let excluded = read_serials("excluded", &self.excluded, product, &mut problems);
        for serial in first.iter().filter(|serial| excluded.binary_search(serial).is_ok()) {
            problems.add("excluded", format!("`{serial}` is on the first-list too"));
        }
        let all = id.zip(target).map(|(id, target)| Rollout {
            id,
            salt: self.salt.as_deref().map(Box::from),
            target,
            state: self.state.clone(),
            started_at: self.started_at,
            waves: self.waves.clone(),
            late: self.late,
            admission: self.admission,
            first,
            excluded,
            success: self.success,
            halt: self.halt,
            missing: self.missing,
            penalty: self.penalty,
            complete: self.complete,
            progress: self.progress,
            resumes: self.resumes,
            edition: self.edition,
        });
        problems.finish(all)
    }
}

fn check_waves(waves: &[Wave], admission: Admission, problems: &mut Problems) {
    if waves.is_empty() || waves.len() > WAVES_MAX {
        problems.add("waves", format!("are {}: a rollout has 1 to {WAVES_MAX}", waves.len()));
    }
    let (mut count, mut share, mut threshold) = (0, 0, -1);
    for (index, wave) in waves.iter().enumerate() {
        let place = format!("waves[{index}]");
        match wave.size {
            WaveSize::First(0) => problems.add(&place, "counts nobody: a wave admits at least one"),
            WaveSize::First(n) if n < count => {
                problems
                    .add(&place, format!("admits {n}, fewer than the {count} of a wave before: sizes are cumulative"));
            }
            WaveSize::First(n) => count = n,
            WaveSize::ShareBps(bps) if bps == 0 || bps > SHARE_BPS_MAX => {
                problems.add(&place, format!("is a share of {bps} basis points: it goes from 1 to {SHARE_BPS_MAX}"));
            }
            WaveSize::ShareBps(bps) if bps < share => {
                problems.add(
                    &place,
                    format!("admits {bps} basis points, less than the {share} of a wave before: sizes are cumulative"),
                );
            }
            WaveSize::ShareBps(bps) => share = bps,
            WaveSize::All if index + 1 < waves.len() => problems.add(&place, "is `all`, but not the last wave"),
            WaveSize::All => {}
        }
        if admission == Admission::FirstCome && matches!(wave.size, WaveSize::ShareBps(_)) {
            problems.add(&place, "is a share, which cannot be claimed first come: give a count, or `all`");
        }
        check_gate(&format!("{place}.gate"), &wave.gate, problems);
        if let Some(opened) = wave.opened {
            if index > 0 && waves[index - 1].opened.is_none() {
                problems.add(&place, "is open behind a closed wave: waves open in order");
            }
            // None is below every rank. (Options that are compared look like uninitialised memory to valgrind.)
            let own = opened.threshold.map_or(-1, i128::from);
            if wave.size != WaveSize::All && own < threshold {
                problems.add(&place, "has a threshold below that of a wave before: an open wave never closes");
            }
            threshold = own.max(threshold);
        }
    }
}

/// Gives a group's rollout the edition after that of the one before, if anything about it changed.
pub(super) fn number(before: Option<&Rollout>, now: Option<&mut Rollout>) {
    if let Some((before, now)) = before.zip(now) {
        // What was counted is noted without an end, and moves nothing.
        let progress = std::mem::replace(&mut now.progress, before.progress);
        now.edition = before.edition;
        if *before != *now {
            now.edition = before.edition.saturating_add(1);
        }
        now.progress = progress;
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn check_gate(place: &str, gate: &Gate, problems: &mut Problems) {
    if gate.success_share_bps.is_some_and(|bps| bps > SHARE_BPS_MAX) {
        problems.add(format!("{place}.success_share_bps"), format!("is above {SHARE_BPS_MAX}"));
    }
}

/// Canonical, sorted, each once.
pub(crate) fn read_serials(place: &str, texts: &[String], product: &Product, problems: &mut Problems) -> Vec<Box<str>> {
    let mut serials = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match product.read_serial(text.as_bytes()) {
            Ok(serial) => serials.push(serial.as_str().into()),
            Err(fault) => problems.add(format!("{place}[{index}]"), format!("`{}` {fault}", text.escape_debug())),
        }
    }
    if texts.len() > LISTED_MAX {
        problems.add(place, format!("lists more than {LISTED_MAX}"));
    }
    serials.sort_unstable();
    serials.dedup();
    serials
}

impl Rollout {
    /// Its name.
    pub fn id(&self) -> &RolloutId {
        &self.id
    }

    /// The run that it is, in its group; none before it is started.
    pub fn run(&self, product: &ProductId, group: &GroupId) -> Option<Run> {
        let started_at = self.started_at?;
        Some(Run { product: product.clone(), group: group.clone(), rollout: self.id.clone(), started_at })
    }

    /// What it moves its group to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where it stands.
    pub fn state(&self) -> &RolloutState {
        &self.state
    }

    /// Its waves.
    pub fn waves(&self) -> &[Wave] {
        &self.waves
    }

    /// When it started (R4).
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// Which outcome is success.
    pub fn success(&self) -> Success {
        self.success
    }

    /// Who gets into an open wave.
    pub fn admission(&self) -> Admission {
        self.admission
    }

    /// When it halts itself.
    pub fn halt(&self) -> Halt {
        self.halt
    }

    /// When a device counts as missing.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// How long a device waits that failed.
    pub fn penalty(&self) -> Penalty {
        self.penalty
    }

    /// The last statistics of the gate.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// How often it was resumed.
    pub fn resumes(&self) -> u32 {
        self.resumes
    }

    /// Which state of the rollout this is; see [`RolloutSpec::edition`].
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// The wave, counted from 0, that a device belongs to whose turn it is: the first open one that admits it. In a first-come rollout, where who asks
    /// decides, the last open one. `None`: no open wave admits it. One hash where admission is by rank.
    pub fn wave_of(&self, product: &str, serial: &str, entered_at: Timestamp) -> Option<usize> {
        let (last, ..) = self.last_open()?;
        let kept = self.keeps_for_last_wave(serial, entered_at);
        let from = if kept { self.waves.len() - 1 } else { 0 };
        if self.admission == Admission::FirstCome {
            return (last >= from).then_some(last);
        }
        let rank = self.rank_of(product, serial);
        let admits = |wave: &Wave| match wave.opened {
            Some(opened) => wave.size == WaveSize::All || opened.threshold.is_some_and(|threshold| rank <= threshold),
            None => false,
        };
        let first = self.waves.iter().skip(from).position(admits);
        first.map(|wave| from + wave)
    }

    /// The salt of its ranks (R2).
    pub fn salt(&self) -> &str {
        self.salt.as_deref().unwrap_or(self.id.as_str())
    }

    /// Running or paused: it exists for a decision (R11).
    pub fn is_active(&self) -> bool {
        matches!(self.state, RolloutState::Running | RolloutState::Paused { .. })
    }

    /// The version of its target, where that is firmware.
    pub fn target_version(&self) -> Option<&Version> {
        match &self.target {
            Target::Firmware(version) => Some(version),
            _ => None,
        }
    }

    /// The last open wave and its index; waves open in order.
    pub fn last_open(&self) -> Option<(usize, &Wave, &Opened)> {
        let index = self.waves.iter().rposition(|wave| wave.opened.is_some())?;
        let wave = self.waves.get(index)?;
        wave.opened.as_ref().map(|opened| (index, wave, opened))
    }

    /// On the first-list (R6).
    pub fn is_first(&self, serial: &str) -> bool {
        listed(&self.first, serial)
    }

    /// On the excluded list (R6).
    pub fn is_excluded(&self, serial: &str) -> bool {
        listed(&self.excluded, serial)
    }

    /// R4: the device entered after the rollout started and is kept to the last wave. Who is first is first.
    pub fn keeps_for_last_wave(&self, serial: &str, entered_at: Timestamp) -> bool {
        self.late == Late::Tail && self.started_at.is_some_and(|started| entered_at > started) && !self.is_first(serial)
    }

    /// The rank that decides about a device: 0 for the first-list (R6), else R2's.
    pub fn rank_of(&self, product: &str, serial: &str) -> u64 {
        if self.is_first(serial) { 0 } else { super::rank(self.salt(), product, serial) }
    }

    /// The specification that builds this value again.
    pub fn spec(&self) -> RolloutSpec {
        let texts = |list: &[Box<str>]| list.iter().map(|serial| serial.to_string()).collect();
        RolloutSpec {
            id: self.id.as_str().to_owned(),
            salt: self.salt.as_deref().map(str::to_owned),
            target: match &self.target {
                Target::Firmware(version) => TargetSpec::Firmware(version.text().to_owned()),
                Target::Config(config) => TargetSpec::Config(config.spec()),
                Target::Resources(list) => TargetSpec::Resources(list.iter().map(Resource::spec).collect()),
            },
            state: self.state.clone(),
            started_at: self.started_at,
            waves: self.waves.clone(),
            late: self.late,
            admission: self.admission,
            first: texts(&self.first),
            excluded: texts(&self.excluded),
            success: self.success,
            halt: self.halt,
            missing: self.missing,
            penalty: self.penalty,
            complete: self.complete,
            progress: self.progress,
            resumes: self.resumes,
            edition: self.edition,
        }
    }
}

fn listed(list: &[Box<str>], serial: &str) -> bool {
    list.binary_search_by(|listed| (**listed).cmp(serial)).is_ok()
}
