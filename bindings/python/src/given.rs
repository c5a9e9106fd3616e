//! A decision as Python keeps it: owned, so that it outlives the revision that it came from, and goes through a pickle.

use otagate::{
    ArtifactSpec, CheckIn, Claim, ClaimRefused, ConfigSpec, Decision, Effect, Offer, Reason, ResourceSpec, Verdict,
};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

/// One decision, with all that a host needs to give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    /// The number of the reason, from which status and verdict follow.
    pub(crate) reason: u16,
    pub(crate) revision: u64,
    pub(crate) retry_after_secs: Option<u32>,
    pub(crate) meant: Option<Box<str>>,
    pub(crate) rollout: Option<Box<str>>,
    pub(crate) effect: Option<GivenEffect>,
    pub(crate) offer: Option<GivenOffer>,
    /// The attempt that the offer is, by a ledger.
    pub(crate) attempt: Option<GivenAttempt>,
}

/// What a report of what became of the offer names, so that it is not booked on another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenAttempt {
    pub(crate) number: u32,
    pub(crate) group: String,
    pub(crate) started_at: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum GivenEffect {
    Register { product: Box<str>, serial: Option<Box<str>> },
    Claim { rollout: Option<Box<str>>, slots_max: Option<u32>, downloads_max: Option<u32>, refused: Box<[Given; 2]> },
    Seen { rollout: Box<str> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum GivenOffer {
    Firmware { version: Box<str>, artifact: Box<ArtifactSpec>, leased: bool },
    Config(Box<ConfigSpec>),
    Resources(Vec<ResourceSpec>),
    Resource(Box<ResourceSpec>),
}

impl Given {
    pub(crate) fn of(decision: &Decision<'_>, ask: &CheckIn<'_>) -> Self {
        Self {
            reason: decision.reason.number(),
            revision: decision.revision.0,
            retry_after_secs: decision.retry_after_secs,
            meant: decision.meant.map(|meant| meant.version().text().into()),
            rollout: decision.rollout.map(|rollout| rollout.as_str().into()),
            effect: decision.effect.as_ref().map(|effect| GivenEffect::of(effect, decision, ask)),
            offer: match &decision.verdict {
                Verdict::Serve(offer) => Some(GivenOffer::of(offer)),
                _ => None,
            },
            attempt: None,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        // A pickle of a later version may name one that is not known here: it denies.
        Reason::from_number(self.reason).unwrap_or(Reason::KeyUnknown)
    }

    pub(crate) fn status(&self) -> u16 {
        self.reason().status()
    }

    /// Flat, as in every language.
    pub(crate) fn json(&self) -> String {
        // Maps of texts and numbers can be written, always.
        serde_json::to_string(&Flat(self)).unwrap_or_default()
    }
}

/// The verdict that a reason belongs to (V1), by its name.
pub(crate) fn verdict_of(reason: Reason) -> &'static str {
    match reason.status() {
        200 => "serve",
        304 => "up-to-date",
        404 => "unavailable",
        _ => "unauthorized",
    }
}

impl GivenEffect {
    fn of(effect: &Effect<'_>, decision: &Decision<'_>, ask: &CheckIn<'_>) -> Self {
        match effect {
            Effect::Register(product) => {
                let serial = effect.registration(ask).map(|(_, serial)| serial.as_str().into());
                Self::Register { product: product.id().as_str().into(), serial }
            }
            Effect::Claim(Claim { rollout, slots_max, downloads_max, .. }) => Self::Claim {
                rollout: rollout.map(|rollout| rollout.as_str().into()),
                slots_max: *slots_max,
                downloads_max: *downloads_max,
                refused: Box::new(
                    [ClaimRefused::Slots, ClaimRefused::Downloads].map(|by| Given::of(&decision.refused(by), ask)),
                ),
            },
            Effect::Seen(rollout) => Self::Seen { rollout: rollout.as_str().into() },
        }
    }
}

impl GivenOffer {
    fn of(offer: &Offer<'_>) -> Self {
        match offer {
            Offer::Firmware(offer) => Self::Firmware {
                version: offer.firmware.version().text().into(),
                artifact: Box::new(artifact(offer.artifact)),
                leased: offer.leased,
            },
            Offer::Config(config) => Self::Config(Box::new(config.spec())),
            Offer::Resources(list) => Self::Resources(list.iter().map(|resource| resource.spec()).collect()),
            Offer::Resource(resource) => Self::Resource(Box::new(resource.spec())),
        }
    }
}

fn artifact(artifact: &otagate::Artifact) -> ArtifactSpec {
    ArtifactSpec {
        hardware: artifact.hardware().map(str::to_owned).collect(),
        from: artifact.from().map(|from| from.text().to_owned()),
        base: *artifact.base(),
        size_bytes: artifact.size_bytes(),
        digests: *artifact.digests(),
        locator: artifact.locator().to_owned(),
    }
}

/// The JSON of a decision, as the crate writes its own; the vectors hold the two together.
pub(crate) struct Flat<'g>(pub(crate) &'g Given);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let given = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("status", &given.status())?;
        map.serialize_entry("verdict", verdict_of(given.reason()))?;
        map.serialize_entry("reason", given.reason().name())?;
        map.serialize_entry("number", &given.reason)?;
        map.serialize_entry("revision", &given.revision)?;
        if let Some(secs) = given.retry_after_secs {
            map.serialize_entry("retry_after_secs", &secs)?;
        }
        if let Some(meant) = &given.meant {
            map.serialize_entry("meant", meant)?;
        }
        if let Some(rollout) = &given.rollout {
            map.serialize_entry("rollout", rollout)?;
        }
        if let Some(effect) = &given.effect {
            map.serialize_entry("effect", &effect.json())?;
        }
        if let Some(offer) = &given.offer {
            map.serialize_entry("offer", &offer.json())?;
        }
        map.end()
    }
}

impl GivenEffect {
    fn json(&self) -> Value {
        match self {
            Self::Register { product, .. } => json!({ "do": "register", "product": product }),
            Self::Seen { rollout } => json!({ "do": "seen", "rollout": rollout }),
            Self::Claim { rollout, slots_max, downloads_max, refused } => {
                let needed = [slots_max.is_some(), downloads_max.is_some()];
                let told = refused.iter().zip(needed).filter(|(_, needed)| *needed).map(|(given, _)| {
                    let reason = given.reason();
                    json!({ "status": reason.status(), "reason": reason, "number": reason.number(), "retry_after_secs": given.retry_after_secs })
                });
                let told: Vec<_> = told.collect();
                json!({ "do": "claim", "rollout": rollout, "slots_max": slots_max, "downloads_max": downloads_max, "refused": told })
            }
        }
    }
}

impl GivenOffer {
    fn json(&self) -> Value {
        match self {
            Self::Firmware { version, artifact, leased } => {
                let ArtifactSpec { locator, size_bytes, digests, from, .. } = &**artifact;
                let mut told =
                    json!({ "firmware": version, "locator": locator, "size_bytes": size_bytes, "digests": digests });
                if let Some(from) = from {
                    told["from"] = json!(from);
                }
                if *leased {
                    told["leased"] = json!(true);
                }
                told
            }
            Self::Config(config) => json!({ "config": config.document, "digests": config.digests }),
            Self::Resources(list) => {
                json!({ "resources": list.iter().map(|resource| &resource.name).collect::<Vec<_>>() })
            }
            Self::Resource(resource) => {
                let ResourceSpec { name, locator, size_bytes, digests } = &**resource;
                json!({ "resource": name, "locator": locator, "size_bytes": size_bytes, "digests": digests })
            }
        }
    }
}
