//! The promises of views while the store is written to (V5, L1).

use super::Changed;
use super::compare::{self, difference};
use super::fleets::{self, MOVING, NOW, hash};
use super::hand::{Hand, LookUps, Seen};
use super::look::open;
use super::promise::{Kept, broken_by, skipped};
use crate::fleet::{Device, DeviceState, Fleet, ProductId, SerialScheme, Version};
use serde_json::{Value, json};

/// How many changes are made while views are taken.
const STEPS: usize = 24;
const UNSUPPORTED: &str = "the subject writes nothing: give it a `change`";

pub(super) async fn view_is_one_state<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::moving()).await?;
    let ups = look_ups(&of.fleet);
    let steps = fleets::steps(&of.fleet, 1 + STEPS)?;
    let Some((first, others)) = steps.split_first() else { return Ok(()) };

    // One view is held, and gives the same before and after somebody wrote, or tried to.
    if hand.change(&of.store, first).await? == Changed::Unsupported {
        return skipped(UNSUPPORTED);
    }
    let (second, others) = others.split_first().unwrap_or((first, &[]));
    let (before, during) = hand.look_while_changed(&of.store, &ups, second).await?;
    broken_by(difference("a view that was held during a change", &state(&before)?, &state(&during)?))?;
    let after = hand.look(&of.store, &ups).await?;
    broken_by(difference("a view after a change", &devices(&second.after)?, &devices_seen(&after)?))?;

    // Many views are taken while somebody writes: what changes together is seen together.
    let views = hand.look_and_look(&of.store, &ups, others).await?;
    if views.is_empty() {
        // To fail while it is busy is safe, but shows nothing; to fail for good is no view at all.
        hand.look(&of.store, &ups).await?;
        return skipped("every view that was taken while somebody wrote failed, so none could show half a change");
    }
    for seen in views {
        let states: Vec<_> = seen.devices.iter().flatten().map(Device::state).collect();
        let baseline = seen.groups.iter().find_map(|group| group.found.as_ref()?.0.firmware()).map(Version::text);
        let whole = [(DeviceState::Verified, "1"), (DeviceState::Blocked, "2")];
        if !whole.iter().any(|(state, version)| states == [*state; 2] && baseline == Some(*version)) {
            return broken_by(Some(format!(
                "a view at {} shows half a change: the devices are {states:?} and the baseline is {baseline:?}, which change together",
                seen.revision
            )));
        }
    }
    Ok(())
}

pub(super) async fn revision_grows<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::moving()).await?;
    let mut last = hand.look(&of.store, &LookUps::default()).await?.revision;
    for step in fleets::steps(&of.fleet, 4)? {
        if hand.change(&of.store, &step).await? == Changed::Unsupported {
            return skipped(UNSUPPORTED);
        }
        let next = hand.look(&of.store, &LookUps::default()).await?.revision;
        if next <= last {
            return broken_by(Some(format!("after a change the revision is {next}, and it was {last} before")));
        }
        last = next;
    }
    // A registration may be a change or not, but it leads nowhere back.
    let product = ProductId::new(MOVING.0).map_err(|fault| fault.to_string())?;
    let stranger = SerialScheme::Opaque.read(b"stranger").map_err(|fault| fault.to_string())?;
    hand.register(&of.store, &product, &stranger, NOW).await?;
    let next = hand.look(&of.store, &LookUps::default()).await?.revision;
    broken_by((next < last).then(|| format!("after a registration the revision is {next}, and it was {last} before")))
}

fn look_ups(fleet: &Fleet) -> LookUps {
    let Some(entry) = fleet.product(MOVING.0) else { return LookUps::default() };
    let (product, id) = (entry.product(), entry.product().id());
    LookUps {
        keys: vec![hash(MOVING.1)],
        devices: entry.devices().map(|device| (id.clone(), device.serial().to_owned())).collect(),
        groups: entry.devices().map(|device| (product.clone(), device.clone())).collect(),
    }
}

/// All that a view gave, as JSON.
fn state(seen: &Seen) -> Result<Value, String> {
    let mut groups = Vec::new();
    for (group, catalogue, _) in seen.groups.iter().filter_map(|group| group.found.as_ref()) {
        let firmware = catalogue.iter().map(compare::firmware).collect::<Result<Vec<_>, _>>()?;
        groups.push(json!({"group": compare::group(group)?, "firmware": firmware}));
    }
    let products = seen.products.iter().flatten().map(compare::product).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"revision": seen.revision, "products": products, "devices": devices_seen(seen)?, "groups": groups}))
}

fn devices_seen(seen: &Seen) -> Result<Value, String> {
    seen.devices.iter().flatten().map(compare::device).collect()
}

fn devices(fleet: &Fleet) -> Result<Value, String> {
    fleet.product(MOVING.0).into_iter().flat_map(|entry| entry.devices()).map(compare::device).collect()
}
