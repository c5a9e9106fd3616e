//! What a store promises, and what is said when it does not keep it.

use std::fmt;

macro_rules! promises {
    ($($(#[$doc:meta])* $promise:ident = $name:literal, $sentence:literal, $otherwise:literal;)*) => {
        /// One thing that every store keeps. More may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Promise {
            $(#[doc = concat!("`", $name, "`: ", $sentence, ". Otherwise ", $otherwise, ".")] $(#[$doc])* $promise,)*
        }

        impl Promise {
            /// Every promise, in the order in which they are asked.
            pub const ALL: &'static [Self] = &[$(Self::$promise,)*];

            /// The stable kebab-case name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$promise => $name,)*
                }
            }

            /// What is promised.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$promise => $sentence,)*
                }
            }

            /// What happens where it is broken.
            pub const fn otherwise(self) -> &'static str {
                match self {
                    $(Self::$promise => $otherwise,)*
                }
            }
        }
    };
}

promises! {
    Opens = "opens", "the subject makes a store of any fleet that loads",
        "nothing can be asked of it";
    KeyFindsItsProduct = "key-finds-its-product", "a key is found under its hash alone, and brings its own product with all its keys and rules",
        "a key opens another product, or one that is revoked or expired still opens its own";
    StrangersFindNobody = "strangers-find-nobody", "unknown keys and serials find nobody, and that is no error",
        "any stranger makes the store fail at will, or is told apart by an error who should not be";
    /// The product that [`fetch`](crate::store::fetch) asks for on an unknown key has a control character in its name, U+0001. Whoever cannot store such a name finds nobody.
    DeviceIsItsProducts = "device-is-its-products", "a device is found by product and canonical serial, and under no other product",
        "a device gets another product's firmware";
    DeviceSurvives = "device-survives", "state, group, time of entry, pin and cap of a device come back",
        "a blocked device is served, or one that is pinned is moved";
    GroupSurvives = "group-survives", "a group comes back with its assignments, limits, and the rollout under way: its waves, thresholds and lists",
        "an excluded device is served the target, or a wave reaches devices that it was never opened for";
    CatalogueSurvives = "catalogue-survives", "baseline, target, pin and every stone come back with their artifacts, requirements and deny flags",
        "a denied firmware is served, or a device is taken past a stepping stone";
    LedgerBeginsEmpty = "ledger-begins-empty", "where nobody claimed, failed or was made an offer, the ledger says so",
        "a device holds on to an offer that nobody made, or a slot is taken that nobody has";
    TextSurvives = "text-survives", "text comes back byte for byte, and two texts that differ are two: in case, accents, blanks, zeros or a quote",
        "two devices are one to the store, and one is told what is meant for the other";
    NumbersSurvive = "numbers-survive", "numbers come back in full width, times before 1970 too, and an empty list or a 0 is not nothing",
        "a threshold above half of all ranks admits everybody or nobody";
    GapsStayGaps = "gaps-stay-gaps", "a group or firmware that is named and does not exist is not found, and nothing stands in for it",
        "a device is given another group's or another baseline's firmware";
    DecisionsAgree = "decisions-agree", "check-ins are decided as they are over the memory store, trace included",
        "two gateways tell one device two things";
    RegisteringMakesNew = "registering-makes-new", "a registered device is new, in the default group, from the time given",
        "an unverified device is served";
    RegisteringTwiceIsOnce = "registering-twice-is-once", "a device that is known stays as it is",
        "a blocked device unblocks itself by asking again";
    RegisteringKeepsTheLimit = "registering-keeps-the-limit", "no more devices of a product are new than it allows, however many ask at once",
        "strangers fill the database";
    RegisteringCanBeRefused = "registering-can-be-refused", "a product that does not register, or does not exist, registers nobody, none registers a placeholder that it lists, and that is no error",
        "strangers make themselves known where the operator wants none";
    ViewIsOneState = "view-is-one-state", "all look-ups of one view see one state at one revision, whatever is written meanwhile",
        "a reader sees half a change";
    RevisionGrows = "revision-grows", "every change has a revision above that of the state before, and none ever goes back",
        "nobody can say which of two answers is the newer";
}

/// What was asked and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The promises that were kept.
    pub kept: Vec<Promise>,
    /// Those that could not be asked.
    pub skipped: Vec<Skipped>,
}

/// A promise that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The promise.
    pub promise: Promise,
    /// Why.
    pub why: String,
}

/// The promises that a store breaks, at least one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Broken {
    /// One for each, in the order in which they were asked.
    pub breaches: Vec<Breach>,
    /// What was kept, and what could not be asked.
    pub report: Report,
}

/// A promise that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breach {
    /// The promise.
    pub promise: Promise,
    /// The first thing that showed it.
    pub found: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, found } = self;
        writeln!(f, "`{}`: {}", promise.name(), promise.sentence())?;
        writeln!(f, "    but: {found}")?;
        write!(f, "    otherwise {}", promise.otherwise())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store breaks its contract")?;
        self.breaches.iter().try_for_each(|breach| write!(f, "\n{breach}"))
    }
}

/// As [`Display`](fmt::Display): a test that returns it prints it so.
impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What asking a promise came to.
pub(super) type Kept = Result<(), Finding>;

/// Why a promise is not known to be kept.
pub(super) enum Finding {
    /// It is broken, and this showed it.
    Broken(String),
    /// It could not be asked.
    Skipped(String),
}

impl From<String> for Finding {
    fn from(found: String) -> Self {
        Self::Broken(found)
    }
}

/// Could not be asked.
pub(super) fn skipped(why: &str) -> Kept {
    Err(Finding::Skipped(why.to_owned()))
}

/// Broken, if anything was found.
pub(super) fn broken_by(found: Option<String>) -> Kept {
    found.map_or(Ok(()), |found| Err(Finding::Broken(found)))
}

/// All that was found so far.
#[derive(Default)]
pub(super) struct Findings {
    kept: Vec<Promise>,
    skipped: Vec<Skipped>,
    breaches: Vec<Breach>,
}

impl Findings {
    pub(super) fn note(&mut self, promise: Promise, kept: Kept) {
        match kept {
            Ok(()) => self.kept.push(promise),
            Err(Finding::Skipped(why)) => self.skipped.push(Skipped { promise, why }),
            Err(Finding::Broken(found)) => self.breaches.push(Breach { promise, found }),
        }
    }

    /// The first of these that is broken.
    pub(super) fn broken_of(&self, promises: &[Promise]) -> Option<Promise> {
        self.breaches.iter().map(|breach| breach.promise).find(|promise| promises.contains(promise))
    }

    pub(super) fn report(self) -> Result<Report, Broken> {
        let report = Report { kept: self.kept, skipped: self.skipped };
        if self.breaches.is_empty() { Ok(report) } else { Err(Broken { breaches: self.breaches, report }) }
    }
}
