//! How far the rollouts of the fleet as it would be have come: a plan that starts one is nothing to look at before its first wave opens.

use crate::fleet::{Change, RolloutState};
use crate::index::Index;
use crate::rollout::{Conductor, MemoryLedger, RolloutStore};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How far the rollouts of the fleet as it would be have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// As the fleet says.
    AsIs,
    /// As a gateway would have it a moment later: what a [`Conductor`] does at once, such as opening the first wave of what was just started, is done.
    #[default]
    Due,
    /// As it ends if all goes well: every wave of every running rollout is open.
    Whole,
}

impl Reach {
    /// A fork of the fleet that has come so far, and what was done.
    pub(super) fn of(self, index: &Index, now: Timestamp) -> (Index, Vec<String>) {
        let mut steps = Vec::new();
        let index = index.fork();
        if self == Self::AsIs {
            return (index, steps);
        }
        // Nobody has been offered anything yet that this account knows of, so no gate that asks for health opens, and nothing halts.
        let ledger = MemoryLedger::default();
        let Ok(moved) = Conductor::new(&index, &ledger).advance(now);
        steps.extend(moved.iter().map(ToString::to_string));
        if self == Self::Whole {
            open_all(&index, now, &mut steps);
        }
        (index, steps)
    }
}

fn open_all(index: &Index, now: Timestamp, steps: &mut Vec<String>) {
    let Ok(under_way) = index.under_way();
    for at in under_way {
        let Some(rollout) = at.group.rollout().filter(|rollout| *rollout.state() == RolloutState::Running) else {
            continue;
        };
        let open = rollout.waves().iter().take_while(|wave| wave.opened.is_some()).count();
        let whom = format!("product `{}`, group `{}`, rollout `{}`", at.product, at.group.id(), rollout.id());
        for wave in open..rollout.waves().len() {
            let census = index.snapshot().census(at.product.as_str(), at.group.id().as_str(), wave);
            let opened = match census {
                Ok(census) => census.opened(now),
                Err(fault) => {
                    steps.push(format!("{whom}: wave {} cannot open: {fault}", wave + 1));
                    break;
                }
            };
            let (product, group, rollout) = (at.product.clone(), at.group.id().clone(), rollout.id().clone());
            if let Err(problems) = index.apply(&[Change::OpenWave { product, group, rollout, wave, opened }]) {
                steps.push(format!("{whom}: wave {} cannot open: {problems}", wave + 1));
                break;
            }
        }
        steps.push(format!("{whom}: every wave is taken to be open"));
    }
}
