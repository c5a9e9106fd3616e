//! Cedar, `cedar-policy`: one policy over devices and keys that are held as entities.
//!
//! Compared: `is_authorized` of a request built from the check-in's text, all questions inside the engine: the device is the principal with its state and rank as
//! attributes, the key is the resource, a child of its product, and the version is context. All devices are held; Cedar slows down with their number. Unfair to us:
//! it says allow or deny and no artifact, versions are compared as text, the key is compared in clear, and the rank is stored, as Cedar has no hash; a new rollout would
//! rewrite all entities. Unfair to it: its policies can say far more than this one.

use crate::question::{Ask, KEY, PRODUCT, TARGET, World};
use crate::{Quarter, Subject};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use std::collections::{HashMap, HashSet};

pub(crate) struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    device: EntityTypeName,
    key: EntityTypeName,
    update: EntityUid,
}

impl Cedar {
    pub(crate) fn new(world: &World) -> Self {
        let policy = format!(
            r#"permit (principal is Device, action == Action::"update", resource in Product::"{PRODUCT}")
               when {{
                   principal has verified && principal.verified
                   && context.version != "{TARGET}"
                   && principal.rank <= {}
               }};"#,
            world.signed_threshold()
        );
        let (device, key): (EntityTypeName, EntityTypeName) = ("Device".parse().unwrap(), "ApiKey".parse().unwrap());
        let devices = world.devices.iter().map(|one| {
            let attributes = HashMap::from([
                ("verified".into(), RestrictedExpression::new_bool(one.verified)),
                ("rank".into(), RestrictedExpression::new_long(one.signed_rank())),
            ]);
            Entity::new(uid(&device, &one.serial), attributes, HashSet::new()).unwrap()
        });
        let product = uid(&"Product".parse().unwrap(), PRODUCT);
        let keys = [
            Entity::new_no_attrs(uid(&key, KEY), HashSet::from([product.clone()])),
            Entity::new_no_attrs(product, HashSet::new()),
        ];
        let entities = Entities::from_entities(devices.chain(keys), None).unwrap();
        Self {
            authorizer: Authorizer::new(),
            policies: policy.parse().unwrap(),
            entities,
            device,
            key,
            update: r#"Action::"update""#.parse().unwrap(),
        }
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

impl Subject for Cedar {
    fn name(&self) -> &'static str {
        "cedar"
    }

    fn package(&self) -> Option<&'static str> {
        Some("cedar-policy")
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        let version = RestrictedExpression::new_string(ask.version.into());
        let context = Context::from_pairs([("version".into(), version)]).unwrap();
        let (device, key) = (uid(&self.device, &ask.serial), uid(&self.key, ask.key));
        let request = Request::new(device, self.update.clone(), key, context, None).unwrap();
        self.authorizer.is_authorized(&request, &self.policies, &self.entities).decision() == Decision::Allow
    }
}
