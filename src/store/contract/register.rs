//! The promises of registration (question 3).

use super::fleets::{self, NOW, ROOM};
use super::hand::{Hand, LookUps, name};
use super::look::{Opened, device_differs, first_found, open};
use super::promise::{Kept, broken_by};
use crate::check_in::CheckIn;
use crate::fleet::{CanonicalSerial, Device, ProductId, SerialScheme};
use crate::store::Registered;
use std::collections::BTreeSet;

/// How many strangers come at once to a product with room for [`ROOM`].
const STRANGERS: usize = 40;

pub(super) async fn makes_new<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::crowd()).await?;
    let (product, stranger) = (id("roomy")?, serial("stranger")?);
    let outcome = hand.register(&of.store, &product, &stranger, NOW).await?;
    told(&product, &stranger, outcome, Registered::New)?;

    let entry = of.fleet.product(product.as_str()).map(|entry| Device::registered(entry.product(), &stranger, NOW));
    let seen = look(hand, &of, &product, &[stranger]).await?;
    let differs = entry.map(|should| device_differs(&product, &should, seen.first().and_then(Option::as_ref)));
    broken_by(differs.transpose()?.flatten())?;

    // It learns that it is not verified, and nothing more.
    let (decision, _) = hand.ask(&of.store, &CheckIn::new(b"roomy", b"stranger"), NOW).await?;
    let waits = decision.contains("\"device-new\"");
    broken_by(
        (!waits).then(|| format!("a device that was just registered is told {decision}, should be told `device-new`")),
    )
}

pub(super) async fn twice_is_once<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::crowd()).await?;
    let product = id("roomy")?;
    let known = ["new-1", "verified-1", "blocked-1"];
    for text in known {
        let device = serial(text)?;
        let outcome = hand.register(&of.store, &product, &device, NOW).await?;
        told(&product, &device, outcome, Registered::Known)?;
        let should = of.fleet.product(product.as_str()).and_then(|entry| entry.device(text));
        let seen = look(hand, &of, &product, &[device]).await?;
        let differs = should.map(|should| device_differs(&product, should, seen.first().and_then(Option::as_ref)));
        broken_by(differs.transpose()?.flatten())?;
    }

    // One that is not known yet, by many at once: the first makes it new, and its time stays.
    let stranger = serial("stranger")?;
    let outcomes = hand.race(&of.store, &product, &[stranger; 16], NOW).await;
    let count = |wanted| outcomes.iter().filter(|(_, outcome)| *outcome == Ok(wanted)).count();
    let (new, refused) = (count(Registered::New), count(Registered::Refused));
    if new > 1 || refused > 0 {
        let whose = name(product.as_str(), stranger.as_str());
        return broken_by(Some(format!(
            "{whose} registered 16 times at once: {new} were told `New` and {refused} `Refused`, should be one and none"
        )));
    }
    let outcome = hand.register(&of.store, &product, &stranger, NOW.plus_secs(60)).await?;
    // Where all of the race failed, this is the first.
    let first = new == 0 && outcome == Registered::New;
    if !first {
        told(&product, &stranger, outcome, Registered::Known)?;
    }
    let entered_at = if first { NOW.plus_secs(60) } else { NOW };
    let entry = of.fleet.product(product.as_str());
    let should = entry.map(|entry| Device::registered(entry.product(), &stranger, entered_at));
    let seen = look(hand, &of, &product, &[stranger]).await?;
    let differs = should.map(|should| device_differs(&product, &should, seen.first().and_then(Option::as_ref)));
    broken_by(differs.transpose()?.flatten())
}

pub(super) async fn keeps_the_limit<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::crowd()).await?;
    let product = id("open")?;
    let strangers =
        (0..STRANGERS).map(|number| serial(&format!("stranger-{number}"))).collect::<Result<Vec<_>, _>>()?;
    let mut outcomes = hand.race(&of.store, &product, &strangers, NOW).await;
    // A store may fail where many write at once; the device comes back, and then there is time.
    for (stranger, outcome) in outcomes.iter_mut().filter(|(_, outcome)| outcome.is_err()) {
        *outcome = hand.register(&of.store, &product, stranger, NOW).await;
    }
    let mut is_new = BTreeSet::new();
    for (stranger, outcome) in &outcomes {
        match outcome.clone()? {
            Registered::New | Registered::Known => is_new.insert(*stranger),
            Registered::Refused => false,
        };
    }
    if is_new.len() != ROOM {
        let count = is_new.len();
        return broken_by(Some(format!(
            "of {STRANGERS} strangers that asked product `{product}` at once, {count} were registered, and it had room for {ROOM}"
        )));
    }
    let seen = look(hand, &of, &product, &strangers).await?;
    for (stranger, found) in strangers.iter().zip(&seen) {
        if found.is_some() != is_new.contains(stranger) {
            let (was, is) = if found.is_some() { ("refused", "found") } else { ("registered", "not found") };
            return broken_by(Some(format!("{} was {was}, and is {is}", name(product.as_str(), stranger.as_str()))));
        }
    }
    // Full is full, and whoever is known is known all the same.
    refused(hand, &of, "open", "one-more").await?;
    let known = serial("verified-1")?;
    told(&product, &known, hand.register(&of.store, &product, &known, NOW).await?, Registered::Known)?;
    refused(hand, &of, "full", "one-more").await?;
    refused(hand, &of, "none", "one-more").await
}

pub(super) async fn can_be_refused<H: Hand>(hand: &H) -> Kept {
    let of = open(hand, fleets::crowd()).await?;
    refused(hand, &of, "shut", "stranger").await?;
    refused(hand, &of, "no such product", "stranger").await?;
    // There is room, but many units say that they are this one. The list may be younger than the decision that asked for the registration.
    refused(hand, &of, "roomy", "test-unit").await?;
    // Else a placeholder is refused before the store is asked, if the store keeps the list of them.
    let (decision, _) = hand.ask(&of.store, &CheckIn::new(b"open", b"test-unit"), NOW).await?;
    let asks_for_it = decision.contains("\"register\"");
    broken_by(asks_for_it.then(|| format!("the placeholder `test-unit` of product `open` is told {decision}")))
}

async fn refused<H: Hand>(hand: &H, of: &Opened<H::Store>, product: &str, text: &str) -> Kept {
    let (product, serial) = (id(product)?, serial(text)?);
    let outcome = hand.register(&of.store, &product, &serial, NOW).await?;
    told(&product, &serial, outcome, Registered::Refused)?;
    let seen = look(hand, of, &product, &[serial]).await?;
    broken_by(first_found(&[(product, text.to_owned())], &seen))
}

async fn look<H: Hand>(
    hand: &H,
    of: &Opened<H::Store>,
    product: &ProductId,
    serials: &[CanonicalSerial],
) -> Result<Vec<Option<Device>>, String> {
    let devices = serials.iter().map(|serial| (product.clone(), serial.as_str().to_owned())).collect();
    Ok(hand.look(&of.store, &LookUps { devices, ..LookUps::default() }).await?.devices)
}

fn told(product: &ProductId, serial: &CanonicalSerial, is: Registered, should: Registered) -> Kept {
    let whom = name(product.as_str(), serial.as_str());
    broken_by((is != should).then(|| format!("registering {whom} gave `{is:?}`, should give `{should:?}`")))
}

fn id(text: &str) -> Result<ProductId, String> {
    ProductId::new(text).map_err(|fault| fault.to_string())
}

fn serial(text: &str) -> Result<CanonicalSerial, String> {
    SerialScheme::Opaque.read(text.as_bytes()).map_err(|fault| format!("`{text}` {fault}"))
}
