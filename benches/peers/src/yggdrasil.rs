//! Unleash's engine, `unleash-yggdrasil`: a flag with a flexible rollout by serial, and a constraint on the version.
//!
//! Compared: the core in Rust, `is_enabled`, without the JSON of its C interface. It knows no keys and no devices, so the [`Register`] is asked before: its row
//! is that of `hashmap` plus a flag. Unfair to us: it says yes or no and no artifact; one context is kept and rewritten for each ask, so that nothing is allocated;
//! versions are compared as text; nothing is counted for its metrics. Unfair to it: nothing known. It hashes by murmur3: its quarter is its own.

use crate::hashmap::Register;
use crate::question::{Ask, ROLLOUT, ROLLOUT_PERCENT, TARGET, World};
use crate::{Quarter, Subject};
use serde_json::json;
use std::collections::HashMap;
use unleash_yggdrasil::{Context, EngineState, UpdateMessage};

pub(crate) struct Yggdrasil {
    register: Register,
    engine: EngineState,
    context: Context,
}

impl Yggdrasil {
    pub(crate) fn new(world: &World) -> Self {
        let state = json!({
            "version": 2,
            "features": [{
                "name": "update",
                "enabled": true,
                "strategies": [{
                    "name": "flexibleRollout",
                    "parameters": {"rollout": ROLLOUT_PERCENT.to_string(), "stickiness": "userId", "groupId": ROLLOUT},
                    "constraints": [{"contextName": "version", "operator": "NOT_IN", "values": [TARGET]}],
                }],
            }],
        });
        let engine = EngineState::default();
        let warnings = engine.take_state(UpdateMessage::FullResponse(serde_json::from_value(state).unwrap()));
        assert!(warnings.is_none(), "{warnings:?}");
        let context = Context {
            user_id: Some(String::new()),
            properties: Some(HashMap::from([("version".into(), String::new())])),
            ..Default::default()
        };
        Self { register: Register::new(world), engine, context }
    }
}

impl Subject for Yggdrasil {
    fn name(&self) -> &'static str {
        "yggdrasil"
    }

    fn package(&self) -> Option<&'static str> {
        Some("unleash-yggdrasil")
    }

    fn quarter(&self) -> Quarter {
        Quarter::ItsOwn
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        if !self.register.admits(ask) {
            return false;
        }
        rewrite(self.context.user_id.as_mut(), &ask.serial);
        rewrite(self.context.properties.as_mut().and_then(|all| all.get_mut("version")), ask.version);
        self.engine.is_enabled("update", &self.context, &None)
    }
}

fn rewrite(text: Option<&mut String>, by: &str) {
    let text = text.expect("the context was built with it");
    text.clear();
    text.push_str(by);
}
