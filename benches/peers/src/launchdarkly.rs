//! LaunchDarkly's evaluation engine, `launchdarkly-server-sdk-evaluation`: a flag with a rule on the version and a percentage by serial.
//!
//! Compared: `evaluate` of a borrowed flag; its own client copies the flag out of a store each time, which costs as much again. It knows no keys and no devices,
//! so the [`Register`] is asked before: its row is that of `hashmap` plus a flag. Unfair to us: it says true or false and no artifact, versions are compared as text, and no
//! event is sent. Unfair to it: a context cannot be rewritten, so one is built for each ask, as its users do. It hashes by SHA-1: its quarter is its own.

use crate::hashmap::Register;
use crate::question::{Ask, ROLLOUT, ROLLOUT_PERCENT, TARGET, World};
use crate::{Quarter, Subject};
use launchdarkly_server_sdk_evaluation::{ContextBuilder, Flag, FlagValue, Segment, Store, evaluate};
use serde_json::json;

pub(crate) struct LaunchDarkly {
    register: Register,
    flag: Flag,
}

/// The flag refers to no other, and to no segment.
struct NoOthers;

impl Store for NoOthers {
    fn flag(&self, _: &str) -> Option<Flag> {
        None
    }

    fn segment(&self, _: &str) -> Option<Segment> {
        None
    }
}

impl LaunchDarkly {
    pub(crate) fn new(world: &World) -> Self {
        let (serve, stay) = (0, 1);
        let inside = u32::from(ROLLOUT_PERCENT) * 1_000; // of 100 000
        let flag = json!({
            "key": "update",
            "version": 1,
            "on": true,
            "targets": [],
            "prerequisites": [],
            "rules": [{
                "id": "there",
                "clauses": [{"contextKind": "user", "attribute": "version", "op": "in", "values": [TARGET], "negate": false}],
                "variation": stay,
                "trackEvents": false,
            }],
            "fallthrough": {"rollout": {"contextKind": "user", "variations": [
                {"variation": serve, "weight": inside},
                {"variation": stay, "weight": 100_000 - inside},
            ]}},
            "offVariation": stay,
            "variations": [true, false],
            "salt": ROLLOUT,
        });
        Self { register: Register::new(world), flag: serde_json::from_value(flag).unwrap() }
    }
}

impl Subject for LaunchDarkly {
    fn name(&self) -> &'static str {
        "launchdarkly"
    }

    fn package(&self) -> Option<&'static str> {
        Some("launchdarkly-server-sdk-evaluation")
    }

    fn quarter(&self) -> Quarter {
        Quarter::ItsOwn
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        if !self.register.admits(ask) {
            return false;
        }
        let context = ContextBuilder::new(ask.serial.as_str()).set_string("version", ask.version).build().unwrap();
        matches!(evaluate(&NoOthers, &self.flag, &context, None).value, Some(FlagValue::Bool(true)))
    }
}
