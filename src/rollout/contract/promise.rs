//! What a ledger promises.

use crate::store::contract as said;

said::promises! {
    every "ledger" keeps:
    Opens = "opens", "the subject makes a ledger",
        "nothing can be asked of it";
    BeginsEmpty = "begins-empty", "it holds nothing about a run or a device that was never offered anything, and looking or reporting changes nothing of that",
        "a slot is taken that nobody has, or a rollout moves by what never happened";
    AttemptsCountFromOne = "attempts-count-from-one", "a device's first offer in a run is attempt 1, and each new one the next",
        "a report is taken for another attempt's";
    LiveClaimIsKept = "live-claim-is-kept", "while a claim lives and the hop is the same, asking again is the same attempt, and nothing changes",
        "a device that asks every minute holds its claim for ever, and each time it asks is one more attempt";
    ClaimLapses = "claim-lapses", "a claim lives until the moment given and not at it; then, or for another hop, the offer is a new attempt",
        "a device that vanished holds its claim, or a lease and its claim end at different moments";
    OffersCountPerHop = "offers-count-per-hop", "attempts at one hop are counted, with the time of the first; another hop begins anew, and who arrived is counted on",
        "a device is taken for missing that is on its way, or never is";
    StaleLookClaimsNothing = "stale-look-claims-nothing", "an offer that was decided by another attempt or outcome than the device stands at claims nothing",
        "an outcome that comes between look and claim is passed over, and a device that has just failed is served again";
    WaveIsTheFirst = "wave-is-the-first", "a device counts in the wave of its first offer, whatever wave it is offered in later",
        "a gate judges a wave by devices that it did not admit";
    RunsAreApart = "runs-are-apart", "runs that differ in product, group, rollout or start have accounts of their own",
        "a rollout that is started anew begins with the failures of the old one";
    SlotsAreLimited = "slots-are-limited", "with at most n slots a run is offered to n devices, lapsed and finished ones included, and who has one keeps it",
        "a canary of ten reaches more devices than ten, or loses one to a stranger";
    PlacesAreLimited = "places-are-limited", "of a group's downloads at most n are live at one moment, and what ends at a moment does not live at it",
        "more devices download than the line can carry, or places stay taken that nobody uses";
    LivePlaceIsKept = "live-place-is-kept", "who holds a live place keeps it as it is, whatever the limit is now, and it is not prolonged",
        "a device is refused in the middle of its download, or keeps others out for ever";
    PlacesAreTheGroups = "places-are-the-groups", "places are shared by a group, whatever the run and without one, and by no other group or product",
        "a second rollout doubles the load, or one group's downloads hold up another";
    ReleaseEndsPlace = "release-ends-place", "a place that is released ends at that moment, if it lives longer, and nothing else changes",
        "a place stays taken that nobody uses, or a device loses its claim with its place";
    AllOrNothing = "all-or-nothing", "slots are asked before downloads, and what is refused records nothing: no slot, no place, no attempt",
        "a refused device takes a slot of the canary, and fills it without being served";
    LatestAttemptCounts = "latest-attempt-counts", "a device stands once, at its latest attempt; a report without a number is about that one, and of earlier ones nothing counts",
        "a device that failed once and is healthy now halts the rollout";
    StrongestOutcomeCounts = "strongest-outcome-counts", "of one attempt the strongest counts: offered, downloaded, missing, installed, confirmed, failed",
        "a failure is hidden by what was heard after it";
    StrangersDoNotCount = "strangers-do-not-count", "a report about a device, a run or an attempt that was never offered anything changes nothing",
        "whoever can send reports halts any rollout";
    RecentIsSinceResume = "recent-is-since-resume", "recent is what came about with at least so many resumes, by the fewest that any report of it says; offers are not in it",
        "a rollout that was resumed halts again at the failures of before, or never again";
    OrderDoesNotMatter = "order-does-not-matter", "reports that come late, twice or in any order lead to the same account",
        "two replicas that heard the same say two things, and an outcome is counted twice or lost";
    ReportsAreAnswered = "reports-are-answered", "a report is told whether it moved the device, was known, or is foreign",
        "a host believes that what it reported counts, or repeats it for ever";
    ReportsEndClaims = "reports-end-claims", "a download leaves claim and place the grace that is given, if they live so long, and what is stronger ends both at once",
        "a place stays taken by who needs it no more, or a device whose connection broke at the end is sent away";
    PenaltyDoubles = "penalty-doubles", "a failure makes its device wait at that hop, twice as long each attempt; another hop begins anew, and who arrives owes nothing",
        "a device fails every minute, or waits a day for something that happened once";
    ForgetsOneRun = "forgets-one-run", "forgetting a run forgets all of it and nothing else; a second time does nothing",
        "the account of another rollout is lost, or a device goes on with attempts that nobody knows";
    TextSurvives = "text-survives", "serials, hops and names come back byte for byte, and two that differ are two: in case, accents, blanks, zeros or a quote",
        "two devices share a slot, and the outcome of one is told of the other";
    NumbersSurvive = "numbers-survive", "numbers and times are kept in full width, times before 1970 and at the very ends too",
        "a claim ends before it began, or a limit of all is one of none";
    SlotsHoldAtOnce = "slots-hold-at-once", "of many that claim at once exactly as many are granted as there are slots",
        "a canary of ten reaches eleven when devices wake at the same minute";
    PlacesHoldAtOnce = "places-hold-at-once", "of many that claim at once exactly as many are granted as there are places",
        "more devices download than the line can carry, at the very minute when all ask";
    OneDeviceIsOne = "one-device-is-one", "a device that is claimed for by many at once has one attempt, one slot and one place",
        "a device that retries over two gateways takes two slots";
    ReportsAddUpAtOnce = "reports-add-up-at-once", "outcomes that are reported by many at once are each counted once",
        "an outcome is lost or counted twice, and a gate opens or halts by it";
    AccountsAgree = "accounts-agree", "over a long history each answer is that of a plain account",
        "two gateways tell one device two things";
}

/// What was asked and kept.
pub type Report = said::Report<Promise>;
/// A promise that could not be asked.
pub type Skipped = said::Skipped<Promise>;
/// The promises that a ledger breaks, at least one.
pub type Broken = said::Broken<Promise>;
/// A promise that is broken.
pub type Breach = said::Breach<Promise>;
