//! What a store promises, and what is said when it does not keep it. The ledger's contract says it with the same words: only the list is another.

use std::fmt;

/// What a contract's list of promises can say of each; [`Promise`] is the store's list.
pub trait Promised: Copy + PartialEq + fmt::Debug {
    /// Who promises: `the store`.
    const WHO: &'static str;

    /// See [`Promise::name`].
    fn name(self) -> &'static str;

    /// See [`Promise::sentence`].
    fn sentence(self) -> &'static str;

    /// See [`Promise::otherwise`].
    fn otherwise(self) -> &'static str;
}

/// The enum of a contract's promises, one line for each: what it is called, what is promised, and what happens to whom if it is broken.
macro_rules! promises {
    (every $who:literal keeps: $($(#[$doc:meta])* $promise:ident = $name:literal, $sentence:literal, $otherwise:literal;)*) => {
        #[doc = concat!("One thing that every ", $who, " keeps. More may come.")]
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

        impl $crate::store::contract::Promised for Promise {
            const WHO: &'static str = concat!("the ", $who);

            fn name(self) -> &'static str {
                self.name()
            }

            fn sentence(self) -> &'static str {
                self.sentence()
            }

            fn otherwise(self) -> &'static str {
                self.otherwise()
            }
        }
    };
}
pub(crate) use promises;

promises! {
    every "store" keeps:
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
pub struct Report<P = Promise> {
    /// The promises that were kept.
    pub kept: Vec<P>,
    /// Those that could not be asked.
    pub skipped: Vec<Skipped<P>>,
}

/// A promise that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped<P = Promise> {
    /// The promise.
    pub promise: P,
    /// Why.
    pub why: String,
}

/// The promises that are broken, at least one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Broken<P = Promise> {
    /// One for each, in the order in which they were asked.
    pub breaches: Vec<Breach<P>>,
    /// What was kept, and what could not be asked.
    pub report: Report<P>,
}

/// A promise that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breach<P = Promise> {
    /// The promise.
    pub promise: P,
    /// The first thing that showed it.
    pub found: String,
}

impl<P: Promised> fmt::Display for Breach<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, found } = self;
        writeln!(f, "`{}`: {}", promise.name(), promise.sentence())?;
        writeln!(f, "    but: {found}")?;
        write!(f, "    otherwise {}", promise.otherwise())
    }
}

impl<P: Promised> fmt::Display for Broken<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} breaks its contract", P::WHO)?;
        self.breaches.iter().try_for_each(|breach| write!(f, "\n{breach}"))
    }
}

/// As [`Display`](fmt::Display): a test that returns it prints it so.
impl<P: Promised> fmt::Debug for Broken<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What asking a promise came to.
pub(crate) type Kept = Result<(), Finding>;

/// Why a promise is not known to be kept.
pub(crate) enum Finding {
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
pub(crate) fn skipped(why: &str) -> Kept {
    Err(Finding::Skipped(why.to_owned()))
}

/// Broken, if anything was found.
pub(crate) fn broken_by(found: Option<String>) -> Kept {
    found.map_or(Ok(()), |found| Err(Finding::Broken(found)))
}

/// All that was found so far.
pub(crate) struct Findings<P = Promise> {
    kept: Vec<P>,
    skipped: Vec<Skipped<P>>,
    breaches: Vec<Breach<P>>,
}

impl<P> Default for Findings<P> {
    fn default() -> Self {
        Self { kept: Vec::new(), skipped: Vec::new(), breaches: Vec::new() }
    }
}

impl<P: Promised> Findings<P> {
    pub(crate) fn note(&mut self, promise: P, kept: Kept) {
        match kept {
            Ok(()) => self.kept.push(promise),
            Err(Finding::Skipped(why)) => self.skipped.push(Skipped { promise, why }),
            Err(Finding::Broken(found)) => self.breaches.push(Breach { promise, found }),
        }
    }

    /// The first of these that is broken.
    pub(crate) fn broken_of(&self, promises: &[P]) -> Option<P> {
        self.breaches.iter().map(|breach| breach.promise).find(|promise| promises.contains(promise))
    }

    pub(crate) fn report(self) -> Result<Report<P>, Broken<P>> {
        let report = Report { kept: self.kept, skipped: self.skipped };
        if self.breaches.is_empty() { Ok(report) } else { Err(Broken { breaches: self.breaches, report }) }
    }
}
