//! What a reader keeps of its last decision: what it serves, what it asks for, whom it is about, and what is
//! left to do.
//!
//! A decision by a fleet points into the revision that the reader holds, so that nothing is copied; where the
//! facts were fetched for this decision alone, by a host's store or with a ledger, its texts are copied.

use crate::after::{From, Left};
use crate::codes::*;
use crate::failure::Failure;
use crate::store::of_fault;
use crate::types::*;
use otagate::store::{Found, Store, fetch};
use otagate::{CheckIn, Claim, ClaimRefused, Decision, Effect, Index, Offer, Verdict};
use std::ptr;

/// What the last decision points at, and what is left to do about it.
#[derive(Default)]
pub(crate) struct Last {
    /// There is something in it.
    pub(crate) any: bool,
    /// The decision was made, to the end: what is in it may be given. A fault on the way leaves it unsaid.
    pub(crate) stands: bool,
    pub(crate) offer: Option<otagate_offer>,
    pub(crate) resources: Vec<otagate_resource>,
    pub(crate) effect: Option<otagate_effect>,
    pub(crate) who: Option<otagate_who>,
    /// What is answered where the claim is refused: for want of slots, of places.
    pub(crate) refused: Option<[otagate_decision; 2]>,
    /// Texts that were copied.
    kept: Vec<Box<str>>,
    /// Those of the decision before, which the check-in that is decided now may point at.
    before: Vec<Box<str>>,
    pub(crate) after: Option<Left>,
}

impl Last {
    /// Nothing is left to give; the texts stay for one decision more.
    #[cold]
    pub(crate) fn clear(&mut self) {
        (self.any, self.stands) = (!self.kept.is_empty(), false);
        (self.offer, self.effect, self.refused) = (None, None, None);
        (self.who, self.after) = (None, None);
        self.resources.clear();
        self.before = std::mem::take(&mut self.kept);
    }

    /// Copies a text, and gives a view of the copy.
    pub(crate) fn keep(&mut self, text: &str) -> otagate_text {
        self.any = true;
        hold(&mut self.kept, text)
    }

    /// Takes over a decision whose facts go: its texts are copied.
    pub(crate) fn copy(
        &mut self,
        given: &Decision<'_>,
        ask: &CheckIn<'_>,
        from: impl Fn() -> From,
    ) -> otagate_decision {
        let mut kept = Vec::new();
        let made = otagate_decision::of(given, |text| hold(&mut kept, text));
        if made.offer != OTAGATE_OFFER_NONE || made.effect != OTAGATE_EFFECT_NONE {
            self.take(given, ask, from, Some(&mut kept));
        }
        self.any |= !kept.is_empty();
        self.kept.append(&mut kept);
        made
    }

    /// Looks up whom a claim is for, which a host's own ledger asks; a reader's decision does not say.
    #[cold]
    pub(crate) fn claims(&mut self, index: &Index, ask: &CheckIn<'_>) -> Result<(), Failure> {
        let view = index.view()?;
        self.about(&fetch(&view, ask).map_err(of_fault)?);
        Ok(())
    }

    /// Takes down whom it is about.
    pub(crate) fn about(&mut self, found: &Found<'_>) {
        let key = found.facts().key;
        let device = found.identity().map(|(_, device)| device);
        let mut text = |text: Option<&str>| text.map_or(otagate_text::NONE, |text| hold(&mut self.kept, text));
        self.who = Some(otagate_who {
            product: text(key.map(|key| key.product.id().as_str())),
            serial: text(device.map(|device| device.serial())),
            group: text(device.map(|device| device.group().as_str())),
            state: device.map_or(-1, |device| device.state() as i32),
            ..otagate_who::NONE
        });
        self.any = true;
    }

    /// Takes over what a decision serves and asks for. Without a place to copy texts to, the reader keeps them.
    #[cold]
    pub(crate) fn take(
        &mut self,
        given: &Decision<'_>,
        ask: &CheckIn<'_>,
        from: impl Fn() -> From,
        mut copies: Option<&mut Vec<Box<str>>>,
    ) {
        self.any = true;
        let mut hold = |text: &str| match &mut copies {
            Some(kept) => hold(kept, text),
            None => otagate_text::of(text),
        };
        if let Verdict::Serve(offer) = &given.verdict {
            let rollout = given.rollout.map_or(otagate_text::NONE, |rollout| hold(rollout.as_str()));
            let none = otagate_offer { rollout, ..otagate_offer::NONE };
            self.offer = Some(match offer {
                Offer::Firmware(offer) => {
                    let firmware = hold(offer.firmware.version().text());
                    let leased = offer.leased.into();
                    otagate_offer { kind: OTAGATE_OFFER_FIRMWARE, leased, firmware, ..none }
                        .file(offer.artifact, &mut hold)
                }
                Offer::Config(config) => otagate_offer {
                    kind: OTAGATE_OFFER_CONFIG,
                    document: hold(config.document()),
                    size_bytes: config.document().len() as u64,
                    digests: otagate_digests::of(config.digests()),
                    ..none
                },
                Offer::Resources(list) => {
                    self.resources = list.iter().map(|resource| otagate_resource::of(resource, &mut hold)).collect();
                    otagate_offer { kind: OTAGATE_OFFER_RESOURCES, resources_len: list.len(), ..none }
                }
                Offer::Resource(resource) => {
                    let otagate_resource { name, locator, size_bytes, digests, .. } =
                        otagate_resource::of(resource, &mut hold);
                    otagate_offer { kind: OTAGATE_OFFER_RESOURCE, name, locator, size_bytes, digests, ..none }
                }
            });
        }
        let none = otagate_effect::NONE;
        self.effect = given.effect.as_ref().map(|effect| match effect {
            Effect::Register(product) => {
                let id = product.id();
                let registration = effect.registration(ask).map(|(_, serial)| (id.clone(), serial));
                let canonical = registration.as_ref().map(|(_, serial)| self::hold(&mut self.kept, serial.as_str()));
                let serial = canonical.unwrap_or(otagate_text::NONE);
                self.after = Some(Left { register: registration, ..Left::new(from()) });
                otagate_effect { kind: OTAGATE_EFFECT_REGISTER, product: hold(id.as_str()), serial, ..none }
            }
            Effect::Claim(Claim { rollout, slots_max, downloads_max, .. }) => otagate_effect {
                kind: OTAGATE_EFFECT_CLAIM,
                rollout: rollout.map_or(otagate_text::NONE, |rollout| hold(rollout.as_str())),
                slots_max: slots_max.map_or(-1, i64::from),
                downloads_max: downloads_max.map_or(-1, i64::from),
                ..none
            },
            Effect::Seen(rollout) => {
                otagate_effect { kind: OTAGATE_EFFECT_SEEN, rollout: hold(rollout.as_str()), ..none }
            }
        });
        let needs_claim = matches!(given.effect, Some(Effect::Claim(_)));
        self.refused = needs_claim.then(|| {
            [ClaimRefused::Slots, ClaimRefused::Downloads].map(|by| otagate_decision::of(&given.refused(by), &mut hold))
        });
    }
}

fn hold(kept: &mut Vec<Box<str>>, text: &str) -> otagate_text {
    let copy = Box::<str>::from(text);
    let view = otagate_text::of(&copy);
    kept.push(copy);
    view
}

impl otagate_resource {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        name: otagate_text { data: ptr::null(), len: 0 },
        locator: otagate_text { data: ptr::null(), len: 0 },
        size_bytes: 0,
        digests: otagate_offer::NONE.digests,
    };

    fn of(resource: &otagate::Resource, mut hold: impl FnMut(&str) -> otagate_text) -> Self {
        Self {
            name: hold(resource.name()),
            locator: hold(resource.locator()),
            size_bytes: resource.size_bytes(),
            digests: otagate_digests::of(resource.digests()),
            ..Self::NONE
        }
    }
}

impl otagate_who {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        product: otagate_text::NONE,
        serial: otagate_text::NONE,
        group: otagate_text::NONE,
        state: -1,
        reserved: 0,
    };
}

impl otagate_effect {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        kind: OTAGATE_EFFECT_NONE,
        settled: 0,
        product: otagate_text::NONE,
        serial: otagate_text::NONE,
        rollout: otagate_text::NONE,
        slots_max: -1,
        downloads_max: -1,
    };
}
