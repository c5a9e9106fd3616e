//! The promises of the look-ups.

use super::asks::asks;
use super::compare::{self, difference};
use super::fleets::{self, NEAR_TEXTS, SHARED_SERIAL};
use super::hand::{GroupSeen, Hand, LookUps, name};
use super::promise::{Finding, Kept, broken_by, skipped};
use crate::decide::trace::Recorder;
use crate::fleet::{Catalogue, Device, Fleet, FleetSpec, Hex, KeyHash, Product, ProductEntry, ProductId};
use crate::store::{MemoryStore, StandingRecord, answer};
use std::collections::BTreeSet;

/// A store, and the fleet that it was made of.
pub(super) struct Opened<S> {
    pub(super) fleet: Fleet,
    pub(super) store: S,
}

pub(super) async fn open<H: Hand>(hand: &H, spec: FleetSpec) -> Result<Opened<H::Store>, Finding> {
    let fleet = fleets::build(&spec)?;
    let store = hand.open(&fleet).await.map_err(|fault| format!("a store could not be made: {fault}"))?;
    Ok(Opened { fleet, store })
}

pub(super) async fn keys<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    let pairs: Vec<_> =
        of.fleet.products().flat_map(|entry| entry.product().keys().iter().map(move |key| (key.hash, entry))).collect();
    let ups = LookUps { keys: pairs.iter().map(|(key, _)| *key).collect(), ..LookUps::default() };
    let seen = hand.look(&of.store, &ups).await?;
    for ((key, entry), found) in pairs.iter().zip(&seen.products) {
        broken_by(product_differs(key, entry.product(), found.as_ref())?)?;
    }
    Ok(())
}

/// Keys that nobody has, near to some that are had; serials that no product has; the product that cannot be.
pub(super) async fn strangers<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    let known: BTreeSet<_> =
        of.fleet.products().flat_map(|entry| entry.product().keys()).map(|key| key.hash.0.0).collect();
    let flipped = |at: usize| known.iter().map(move |key| std::array::from_fn(|i| key[i] ^ u8::from(i == at)));
    let near = flipped(0).chain(flipped(31)).chain([[0; 32], [0xff; 32]]).filter(|key| !known.contains(key));
    let keys = near.map(|key| KeyHash(Hex(key))).collect();

    let products = of.fleet.products().map(|entry| entry.product().id().clone()).chain([ProductId::nobody()]);
    let serials = ["nobody", "guess", "' OR 1=1 --", "%", "_", "\u{fffd}", "a4cf1234beef"];
    let devices = products.flat_map(|id| serials.map(|serial| (id.clone(), serial.to_owned()))).collect();

    let ups = LookUps { keys, devices, groups: Vec::new() };
    let seen = hand.look(&of.store, &ups).await.map_err(|fault| format!("{fault}; answer that there is none"))?;
    for (key, found) in ups.keys.iter().zip(&seen.products) {
        let found =
            found.as_ref().map(|product| format!("key hash {} is nobody's, but `{}` is found", key.0, product.id()));
        broken_by(found)?;
    }
    broken_by(first_found(&ups.devices, &seen.devices))
}

/// Every serial of any product, asked of every product, and of one that does not exist.
pub(super) async fn devices_of_products<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    let serials: BTreeSet<_> = of.fleet.products().flat_map(ProductEntry::devices).map(Device::serial).collect();
    let mut owned = Vec::new();
    let mut strange = Vec::new();
    for entry in of.fleet.products() {
        for serial in &serials {
            let list = if entry.device(serial).is_some() { &mut owned } else { &mut strange };
            list.push((entry.product().id().clone(), (*serial).to_owned()));
        }
    }
    let nowhere = ProductId::new("no such product").map_err(|fault| fault.to_string())?;
    strange.extend(serials.iter().map(|serial| (nowhere.clone(), (*serial).to_owned())));

    let seen = hand.look(&of.store, &LookUps { devices: strange.clone(), ..LookUps::default() }).await?;
    broken_by(first_found(&strange, &seen.devices))?;

    let seen = hand.look(&of.store, &LookUps { devices: owned.clone(), ..LookUps::default() }).await?;
    for ((product, serial), found) in owned.iter().zip(&seen.devices) {
        let Some(found) = found else {
            return broken_by(Some(format!("{} is not found", name(product.as_str(), serial))));
        };
        if found.serial() != serial {
            let other = found.serial().escape_debug();
            return broken_by(Some(format!("{}: `{other}` is found in its place", name(product.as_str(), serial))));
        }
    }
    // The one serial that all have is a different device in each: does one of them stand for another?
    let shared: Vec<_> =
        of.fleet.products().filter_map(|entry| entry.device(SHARED_SERIAL).map(|own| (entry, own))).collect();
    for ((product, _), found) in owned.iter().zip(&seen.devices).filter(|((_, serial), _)| serial == SHARED_SERIAL) {
        let Some(found) = found else { continue };
        let found = compare::device(found)?;
        for (entry, device) in &shared {
            if entry.product().id() != product && compare::device(device)? == found {
                let (whose, other) = (name(product.as_str(), SHARED_SERIAL), entry.product().id());
                return broken_by(Some(format!("{whose} is found as that of product `{other}`")));
            }
        }
    }
    Ok(())
}

pub(super) async fn devices<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    all_devices(hand, of).await
}

pub(super) async fn groups<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    each_group(hand, of, group_differs).await
}

pub(super) async fn catalogues<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    each_group(hand, of, catalogue_differs).await
}

pub(super) async fn ledgers<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    each_group(hand, of, |_, device, seen| {
        let Some((_, _, standing)) = &seen.found else { return Ok(None) };
        let StandingRecord {
            claim_expires_at,
            download_expires_at,
            attempts,
            penalty,
            place: _,
            downloads_now,
            slots_taken,
        } = standing;
        let what = match () {
            () if claim_expires_at.is_some() => "a claim",
            () if download_expires_at.is_some() => "a place among the downloads",
            () if *attempts > 0 => "attempts",
            () if penalty.is_some() => "a penalty",
            () if *downloads_now > 0 => "a group in which downloads run",
            () if *slots_taken > 0 => "a rollout of which slots are taken",
            () if seen.lease.is_some() => "a lease",
            () => return Ok(None),
        };
        Ok(Some(format!("device `{}` has {what}", device.serial())))
    })
    .await
}

pub(super) async fn text<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::text()).await?;
    everything(hand, &of).await?;
    let near = of
        .fleet
        .products()
        .flat_map(|entry| NEAR_TEXTS.iter().map(move |text| (entry.product().id().clone(), (*text).to_owned())));
    let devices: Vec<_> = near.collect();
    let seen = hand.look(&of.store, &LookUps { devices: devices.clone(), ..LookUps::default() }).await?;
    broken_by(first_found(&devices, &seen.devices))
}

pub(super) async fn numbers<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::numbers()).await?;
    everything(hand, &of).await
}

pub(super) async fn gaps<H: Hand>(hand: &H) -> Kept {
    let fleet = fleets::build(&fleets::gaps())?;
    let Ok(store) = hand.open(&fleet).await else {
        return skipped("the subject refuses a fleet with gaps, so the store has none");
    };
    everything(hand, &Opened { fleet, store }).await
}

/// Decides every check-in twice: through the store, and over the memory store at the same revision.
pub(super) async fn decisions<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    let revision = hand.look(&of.store, &LookUps::default()).await?.revision;
    let memory = MemoryStore::new(of.fleet.clone().at_revision(revision));
    for asked in asks(&of.fleet) {
        let ask = asked.check_in();
        let (told, trace) = hand.ask(&of.store, &ask, asked.now).await?;
        let mut recorder = Recorder::default();
        let should = answer(&memory, &ask, asked.now, &mut recorder, |decision| serde_json::to_string(decision));
        let should = should.map_err(|fault| fault.to_string())?.map_err(|error| error.to_string())?;
        let recorder = recorder.to_string();
        if told != should {
            return broken_by(Some(format!("{asked}: is told {told}, should be told {should}")));
        }
        broken_by(trace_differs(&trace, &recorder).map(|found| format!("{asked}: the trace {found}")))?;
    }
    Ok(())
}

/// The first line that is not what it should be; one that is missing or too many is not, either.
fn trace_differs(is: &str, should: &str) -> Option<String> {
    let (mut is, mut should) = (is.lines(), should.lines());
    loop {
        return Some(match (is.next(), should.next()) {
            (None, None) => return None,
            (Some(is), Some(should)) if is == should => continue,
            (Some(is), Some(should)) => format!("has `{is}`, should have `{should}`"),
            (Some(is), None) => format!("has `{is}`, should have ended"),
            (None, Some(should)) => format!("has ended, should have `{should}`"),
        });
    }
}

/// Keys, devices, groups and catalogues: all that look-ups give.
async fn everything<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    keys(hand, of).await?;
    all_devices(hand, of).await?;
    groups(hand, of).await?;
    catalogues(hand, of).await
}

async fn all_devices<H: Hand>(hand: &H, of: &Opened<H::Store>) -> Kept {
    let devices =
        || of.fleet.products().flat_map(|entry| entry.devices().map(move |device| (entry.product().id(), device)));
    let ups = devices().map(|(product, device)| (product.clone(), device.serial().to_owned())).collect();
    let seen = hand.look(&of.store, &LookUps { devices: ups, ..LookUps::default() }).await?;
    for ((product, device), found) in devices().zip(&seen.devices) {
        broken_by(device_differs(product, device, found.as_ref())?)?;
    }
    Ok(())
}

/// Looks up the group of every device as it should be, so that a device that came back wrong is not held against its group.
async fn each_group<H: Hand>(
    hand: &H,
    of: &Opened<H::Store>,
    judge: impl Fn(&ProductEntry, &Device, &GroupSeen) -> Result<Option<String>, String>,
) -> Kept {
    for entry in of.fleet.products() {
        let groups: Vec<_> = entry.devices().map(|device| (entry.product().clone(), device.clone())).collect();
        let ups = LookUps { groups, ..LookUps::default() };
        let seen = hand.look(&of.store, &ups).await?;
        for ((_, device), seen) in ups.groups.iter().zip(&seen.groups) {
            broken_by(judge(entry, device, seen)?)?;
        }
    }
    Ok(())
}

fn product_differs(key: &KeyHash, should: &Product, found: Option<&Product>) -> Result<Option<String>, String> {
    let id = should.id().as_str().escape_debug();
    Ok(match found {
        None => Some(format!("product `{id}` is not found under its key hash {}", key.0)),
        Some(found) if found.id() != should.id() => Some(format!(
            "under key hash {} of product `{id}`, product `{}` is found",
            key.0,
            found.id().as_str().escape_debug()
        )),
        Some(found) => difference(&format!("product `{id}`"), &compare::product(should)?, &compare::product(found)?),
    })
}

pub(super) fn device_differs(
    product: &ProductId,
    should: &Device,
    found: Option<&Device>,
) -> Result<Option<String>, String> {
    let what = name(product.as_str(), should.serial());
    Ok(match found {
        None => Some(format!("{what} is not found")),
        Some(found) => difference(&what, &compare::device(should)?, &compare::device(found)?),
    })
}

fn group_differs(entry: &ProductEntry, device: &Device, seen: &GroupSeen) -> Result<Option<String>, String> {
    let id = device.group().as_str();
    let what = format!("group `{}` of {}", id.escape_debug(), name(entry.product().id().as_str(), device.serial()));
    Ok(match (entry.group(id), &seen.found) {
        (None, None) => None,
        (None, Some((found, ..))) => {
            Some(format!("{what} does not exist, but `{}` is found", found.id().as_str().escape_debug()))
        }
        (Some(_), None) => Some(format!("{what} is not found")),
        (Some(should), Some((found, ..))) => difference(&what, &compare::group(should)?, &compare::group(found)?),
    })
}

/// What a decision may need is there, and what is there is right.
fn catalogue_differs(entry: &ProductEntry, device: &Device, seen: &GroupSeen) -> Result<Option<String>, String> {
    let (Some(group), Some((_, found, _))) = (entry.group(device.group().as_str()), &seen.found) else {
        return Ok(None);
    };
    let (rules, whose) = (entry.product().versions(), name(entry.product().id().as_str(), device.serial()));
    let target = group.rollout().filter(|rollout| rollout.is_active()).and_then(|rollout| rollout.target_version());
    let named = [("baseline", group.firmware()), ("target", target), ("pin", device.pin())];
    let named = named.into_iter().filter_map(|(role, version)| Some((role, entry.catalogue().find(version?, rules)?)));
    let stones = entry.catalogue().iter().filter(|firmware| firmware.is_stone()).map(|stone| ("stone", stone));
    for (role, should) in named.chain(stones) {
        let what = format!("{role} `{}` for {whose}", should.version().text().escape_debug());
        let Some(found) = found.find(should.version(), rules) else {
            return Ok(Some(format!("{what} is not in the catalogue")));
        };
        if let Some(found) = difference(&what, &compare::firmware(should)?, &compare::firmware(found)?) {
            return Ok(Some(found));
        }
    }
    surplus(entry, found, &whose)
}

/// More than a decision may need is fine, as long as the product has it.
fn surplus(entry: &ProductEntry, found: &Catalogue, whose: &str) -> Result<Option<String>, String> {
    for found in found.iter() {
        let what = format!("firmware `{}` for {whose}", found.version().text().escape_debug());
        let Some(should) = entry.catalogue().find(found.version(), entry.product().versions()) else {
            return Ok(Some(format!("{what} is in the catalogue, but the product has none")));
        };
        if let Some(found) = difference(&what, &compare::firmware(should)?, &compare::firmware(found)?) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

pub(super) fn first_found(asked: &[(ProductId, String)], found: &[Option<Device>]) -> Option<String> {
    let mut pairs = asked.iter().zip(found);
    pairs.find_map(|((product, serial), found)| {
        let found = found.as_ref()?.serial().escape_debug();
        Some(format!("{} does not exist, but `{found}` is found", name(product.as_str(), serial)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_cut_off_or_goes_on_differs() {
        assert_eq!(trace_differs("1\n2", "1\n2"), None);
        assert_eq!(trace_differs("1\n3", "1\n2").unwrap(), "has `3`, should have `2`");
        assert_eq!(trace_differs("1", "1\n2").unwrap(), "has ended, should have `2`");
        assert_eq!(trace_differs("1\n2", "1").unwrap(), "has `2`, should have ended");
    }
}
