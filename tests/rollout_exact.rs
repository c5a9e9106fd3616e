//! A wave of n is n devices, and every report counts once: by each way of counting, in any order, on any number of threads. Everything is driven from outside: by
//! changes, check-ins, reports and the clock.

#[path = "rollout_exact/census.rs"]
mod census;
#[path = "rollout_exact/conductors.rs"]
mod conductors;
#[path = "rollout_exact/fleets.rs"]
mod fleets;
#[path = "rollout_exact/grants.rs"]
mod grants;
#[path = "rollout_exact/reports.rs"]
mod reports;
#[path = "rollout_exact/steps.rs"]
mod steps;
mod twin;
