//! What is to be tried: a plan is what an operator would do, at the beginning and later.

use super::world::Action;
use crate::fleet::{Change, GroupId, ProductId, RolloutId, RolloutSpec};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What an operator would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What is done at the beginning, as one batch.
    pub changes: Vec<Change>,
    /// What is done later.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

impl Plan {
    /// A plan that changes nothing: the fleet as it is, with the rollouts that are under way.
    pub fn nothing(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A plan that starts a rollout in a group. What the rollout says of its state is passed over: it begins as a draft, and is started.
    ///
    /// # Errors
    /// The rollout's name is none.
    pub fn rollout(
        name: impl Into<String>,
        product: &ProductId,
        group: &GroupId,
        rollout: RolloutSpec,
        at: Timestamp,
    ) -> Result<Self, crate::fleet::TextFault> {
        let id = RolloutId::new(&rollout.id)?;
        let (product, group) = (product.clone(), group.clone());
        let rollout = RolloutSpec { state: crate::fleet::RolloutState::Draft, started_at: None, ..rollout };
        let put = Change::PutRollout { product: product.clone(), group: group.clone(), rollout };
        let start = Change::StartRollout { product, group, rollout: id, at };
        Ok(Self { name: name.into(), changes: vec![put, start], actions: Vec::new() })
    }
}
