//! The recorder: the code that decides, watched (V6).
//!
//! Each question notes what it compared. With [`NoTrace`] the notes are not even built: `Trace::ON` is a constant, so that the compiler drops
//! them. `tests/trace_is_free.rs` compares the machine code with that of a build in which the notes were cut out of the source.

use super::facts::DeviceFacts;
use crate::fleet::{
    Admission, DeviceState, Gate, GroupId, ProductId, Rollout, RolloutId, RolloutState, SentDigest, Success, Version,
    WaveSize,
};
use crate::time::Timestamp;
use crate::verdict::Reason;
use serde::{Serialize, Serializer};
use std::fmt;

/// Notes a step: `note!(trace, Question => answer, "name": value, ...)`; the answer is a reason, an option of one, or `None`.
#[cfg(not(otagate_untraced))]
macro_rules! note {
    ($trace:ident, $question:ident => $answer:expr $(, $name:literal: $value:expr)* $(,)?) => {
        if T::ON {
            $trace.record($crate::decide::trace::Step {
                question: $crate::decide::trace::Question::$question,
                answer: $crate::decide::trace::Answer::into_option($answer),
                values: vec![$(($name, $crate::decide::trace::IntoValue::into_value($value))),*],
            });
        }
    };
}
/// The yardstick of `tests/trace_is_free.rs`: the same source without its notes.
#[cfg(otagate_untraced)]
macro_rules! note {
    ($trace:ident, $question:ident => $answer:expr $(, $name:literal: $value:expr)* $(,)?) => {
        if false {
            let _ = (&$trace, $crate::decide::trace::Answer::into_option($answer), $(&$value,)*);
        }
    };
}
pub(crate) use note;

/// Watches a decision. There are two: [`NoTrace`] and [`Recorder`].
pub trait Trace: sealed::Sealed {
    /// Whether steps are built at all.
    const ON: bool;
    /// Takes a step.
    fn record(&mut self, step: Step);
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NoTrace {}
    impl Sealed for super::Recorder {}
}

/// Watches nothing, and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    const ON: bool = false;
    fn record(&mut self, _: Step) {}
}

/// Keeps every step; readable as text (`Display`) and as JSON (`Serialize`).
///
/// What a device sent is escaped and cut at 128 bytes; keys are never in it.
///
/// ```
/// use otagate::{CheckIn, FleetSpec, MemoryStore, Recorder, Timestamp, store};
/// let memory = MemoryStore::new(FleetSpec::default().build().unwrap());
/// let mut trace = Recorder::default();
/// let ask = CheckIn::new(b"guess", b"1");
/// store::answer(&memory, &ask, Timestamp::from_millis(0), &mut trace, |_| ()).unwrap();
/// assert_eq!(trace.to_string(), " 1 key -> 401 key-unknown\n");
/// assert_eq!(serde_json::to_string(&trace).unwrap(), r#"[{"question":1,"name":"key","answer":"key-unknown","values":{}}]"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Recorder {
    steps: Vec<Step>,
}

impl Recorder {
    /// The steps so far, in the order in which they were taken.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// When the device becomes eligible, where something is withheld from it.
    pub fn eligible(&self) -> Option<&str> {
        let values = self.steps.iter().flat_map(|step| &step.values);
        values.filter(|(name, _)| *name == "eligible").find_map(|(_, value)| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

impl Trace for Recorder {
    const ON: bool = true;
    fn record(&mut self, step: Step) {
        self.steps.push(step);
    }
}

/// The twelve questions, and the lease that stands for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are those of semantics.md, section 3")]
pub enum Question {
    Key = 1,
    Serial = 2,
    Device = 3,
    State = 4,
    Group = 5,
    Meant = 6,
    Hardware = 7,
    AlreadyThere = 8,
    Direction = 9,
    Path = 10,
    Now = 11,
    Serve = 12,
    Lease = 13,
}

impl Question {
    /// The name, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Serial => "serial",
            Self::Device => "device",
            Self::State => "state",
            Self::Group => "group",
            Self::Meant => "meant",
            Self::Hardware => "hardware",
            Self::AlreadyThere => "already-there",
            Self::Direction => "direction",
            Self::Path => "path",
            Self::Now => "now",
            Self::Serve => "serve",
            Self::Lease => "lease",
        }
    }

    /// The number in section 3; `None` for the lease.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::Lease => None,
            numbered => Some(numbered as u8),
        }
    }
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The question.
    pub question: Question,
    /// The answer, where this step gave it.
    pub answer: Option<Reason>,
    /// What was compared.
    pub values: Vec<(&'static str, Value)>,
}

/// One value that was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Not there.
    Nothing,
    /// Yes or no.
    Flag(bool),
    /// A count, a size, a rank.
    Number(u64),
    /// Everything else, escaped.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Flag(flag) => write!(f, "{}", if *flag { "yes" } else { "no" }),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "`{text}`"),
        }
    }
}

/// `6 meant: rank 17, threshold 9 -> 304 wave-not-open`
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.question.number() {
            Some(number) => write!(f, "{number:>2} {}", self.question.name())?,
            None => write!(f, "   {}", self.question.name())?,
        }
        for (index, (name, value)) in self.values.iter().enumerate() {
            write!(f, "{} {} {value}", if index == 0 { ":" } else { "," }, name.replace('_', " "))?;
        }
        match self.answer {
            Some(reason) => write!(f, " -> {} {reason}", reason.status()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{SerializeMap, SerializeStruct};
        struct Values<'s>(&'s [(&'static str, Value)]);
        impl Serialize for Values<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(self.0.len()))?;
                self.0.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
        let mut step = serializer.serialize_struct("Step", 4)?;
        step.serialize_field("question", &self.question.number())?;
        step.serialize_field("name", self.question.name())?;
        step.serialize_field("answer", &self.answer)?;
        step.serialize_field("values", &Values(&self.values))?;
        step.end()
    }
}

/// When the rollout will reach a device that waits, as far as the facts tell (V6). The conditions are those that open the wave, asked by the same code.
pub(crate) fn eligibility(
    rollout: &Rollout,
    serial: &str,
    device: &DeviceFacts<'_>,
    now: Timestamp,
    inside: bool,
) -> String {
    let waves = rollout.waves.len();
    let kept = rollout.keeps_for_last_wave(serial, device.entered_at);
    let mut parts = Vec::new();
    if let RolloutState::Paused { why, .. } = &rollout.state {
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.escape_debug()) };
        parts.push(format!("the rollout is paused{why}"));
        if inside {
            let first_come =
                "a slot of an open wave is the device's or free, and it goes on when the rollout is resumed";
            let by_rank = "the device is in an open wave, and goes on when the rollout is resumed";
            parts.push(if rollout.admission == Admission::FirstCome { first_come } else { by_rank }.to_owned());
            return parts.join("; ");
        }
    }
    match rollout.next_wave() {
        None if rollout.admission == Admission::FirstCome => {
            parts.push("every wave is open, and its slots are taken".to_owned())
        }
        None => parts.push("every wave is open, and its rank is beyond the last".to_owned()),
        Some(next) => {
            let admits_it = if kept { waves - 1 } else { next };
            parts.push(format!("wave {} of {waves} admits {}", admits_it + 1, admits(rollout, admits_it)));
            if kept {
                parts.push("the device joined late and is kept for the last wave".to_owned());
            }
            parts.extend(device.standing.place.map(|place| format!("the device has place {place} by its census")));
            if admits_it > next {
                parts.push(format!("wave {} opens before it", next + 1));
            }
            parts.push(opens(rollout, next, now));
        }
    }
    parts.join("; ")
}

fn admits(rollout: &Rollout, wave: usize) -> String {
    let first_come = rollout.admission == Admission::FirstCome;
    match rollout.waves[wave].size {
        WaveSize::First(n) if first_come => format!("the first {n} that come"),
        WaveSize::First(n) => format!("the first {n}"),
        WaveSize::ShareBps(bps) => percent(bps),
        WaveSize::All => "everybody".to_owned(),
    }
}

fn percent(bps: u16) -> String {
    match bps % 100 {
        0 => format!("{} %", bps / 100),
        rest => format!("{}.{rest:02} %", bps / 100),
    }
}

/// `36 h`, `90 s`: in the largest unit that says it exactly; what has passed in the unit of what is asked.
fn length(secs: u32) -> (u32, &'static str) {
    match secs {
        secs if secs > 0 && secs % 3_600 == 0 => (3_600, "h"),
        secs if secs > 0 && secs % 60 == 0 => (60, "min"),
        _ => (1, "s"),
    }
}

fn opens(rollout: &Rollout, wave: usize, now: Timestamp) -> String {
    let gate = &rollout.waves[wave].gate;
    if gate.is_by_hand() {
        let first = match rollout.state {
            RolloutState::Paused { .. } => "it opens once the rollout is resumed",
            _ => "it opens when the conductor looks next, or by the operator's hand",
        };
        return if wave == 0 { first } else { "the next wave opens by the operator's hand" }.to_owned();
    }
    let progress = rollout.progress.unwrap_or_default();
    let (mut asked, mut is) = (Vec::new(), Vec::new());
    asked.extend(gate.opens_at.map(|at| format!("it is {at}")));
    is.extend(gate.opens_at.map(|_| format!("it is {now}")));
    if let Some(needed) = gate.finished_needed() {
        // The wave that is judged, where that is known.
        let judged = rollout.progress.map(|progress| progress.wave as usize);
        let admitted = judged.and_then(|judged| rollout.admitted(judged));
        let of = match (admitted, judged) {
            (Some(admitted), Some(judged)) => format!(" of the {admitted} of wave {}", judged + 1),
            (None, Some(judged)) => format!(" of wave {}", judged + 1),
            _ => " of the wave before it".to_owned(),
        };
        asked.push(format!("{needed}{of} have finished"));
        is.push(format!("{} have", progress.finished));
        if let Some(bps) = gate.success_share_bps {
            asked.push(format!("{} of these are {}", percent(bps), success(rollout.success)));
        }
        is.push(format!("{} of them {}", progress.succeeded, success(rollout.success)));
        if let Some(secs) = gate.soak_secs.filter(|secs| *secs > 0) {
            let (unit, name) = length(secs);
            let soaked = Gate::soaked_secs(&progress, now).unwrap_or(0) / i64::from(unit);
            asked.push(format!("that has been so for {} {name}", secs / unit));
            is.push(format!("for {soaked} {name}"));
        }
    }
    format!("it opens when {}: now {}", asked.join(" and "), is.join(", "))
}

fn success(success: Success) -> &'static str {
    match success {
        Success::Downloaded => "downloaded",
        Success::Installed => "installed",
        Success::Confirmed => "confirmed",
    }
}

/// What [`note!`] takes as an answer.
pub(crate) trait Answer {
    fn into_option(self) -> Option<Reason>;
}

impl Answer for Reason {
    fn into_option(self) -> Option<Reason> {
        Some(self)
    }
}

impl Answer for Option<Reason> {
    fn into_option(self) -> Option<Reason> {
        self
    }
}

/// What [`note!`] takes as a value.
pub(crate) trait IntoValue {
    fn into_value(self) -> Value;
}

macro_rules! into_value {
    ($($type:ty: |$value:ident| $made:expr;)*) => {
        $(impl IntoValue for $type {
            fn into_value(self) -> Value {
                let $value = self;
                $made
            }
        })*
    };
}

into_value! {
    (): |nothing| { let () = nothing; Value::Nothing };
    bool: |flag| Value::Flag(flag);
    u32: |number| Value::Number(number.into());
    u64: |number| Value::Number(number);
    usize: |number| Value::Number(number as u64);
    String: |text| Value::Text(text);
    Timestamp: |at| Value::Text(at.to_string());
    DeviceState: |state| Value::Text(format!("{state:?}").to_ascii_lowercase());
    SentDigest: |digest| Value::Text(digest.to_string());
    &str: |text| text.as_bytes().into_value();
    &ProductId: |id| id.as_str().into_value();
    &GroupId: |id| id.as_str().into_value();
    &RolloutId: |id| id.as_str().into_value();
    &Version: |version| version.text().into_value();
    &Option<Version>: |version| version.as_ref().into_value();
    // What a device sent: escaped, and no longer than a line.
    &[u8]: |bytes| match bytes.get(..128) {
        Some(start) if bytes.len() > 128 => Value::Text(format!("{}... ({} bytes)", start.escape_ascii(), bytes.len())),
        _ => Value::Text(match std::str::from_utf8(bytes) {
            Ok(text) => text.escape_debug().to_string(),
            Err(_) => bytes.escape_ascii().to_string(),
        }),
    };
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Value {
        self.map_or(Value::Nothing, T::into_value)
    }
}
