//! `decide` and `explain`: one check-in. The whole fleet is read, whatever it is in, so that a waiting device's place can be counted.

use crate::args::{Ask, Format, Wanted};
use crate::failure::{Failure, hint};
use crate::fleets::{Source, connect, open, runtime};
use crate::{Done, now, show};
use anstream::{print, println};
use otagate::rollout::{RolloutStore, look, look_async};
use otagate::store::{Found, StandingRecord, Store, fetch_known};
use otagate::{CheckIn, DigestKind, Index, KeyHash, Product, Recorder, SentDigest, Snapshot, Timestamp, Want};

/// What is printed of one check-in.
struct Answer {
    trace: Recorder,
    json: serde_json::Value,
    line: String,
}

pub(crate) fn decide(args: &Ask, format: Format) -> Result<Done, Failure> {
    let answer = answer(args)?;
    match format {
        Format::Json => show::json(&answer.json)?,
        Format::Text => println!("{}", answer.line),
    }
    Ok(Done::Well)
}

pub(crate) fn explain(args: &Ask, format: Format) -> Result<Done, Failure> {
    let answer = answer(args)?;
    match format {
        Format::Json => {
            let eligible = answer.trace.eligible();
            show::json(&serde_json::json!({ "decision": answer.json, "steps": answer.trace, "eligible": eligible }))?;
        }
        Format::Text => {
            print!("{}", answer.trace);
            println!("{}", answer.line);
        }
    }
    Ok(Done::Well)
}

fn answer(args: &Ask) -> Result<Answer, Failure> {
    let at = args.at.unwrap_or_else(now);
    let source = Source::of(&args.fleet)?;
    let index = Index::new(&source.read(at)?.fleet);
    let snapshot = index.snapshot();
    let key = key(args, &snapshot, at)?;
    let known = args.product.as_deref().and_then(|product| {
        let serial = snapshot.product(product)?.read_serial(args.serial.as_bytes()).ok()?;
        snapshot.device(product, serial.as_str())
    });
    let of_known =
        |said: &Option<String>, known: Option<&str>| said.clone().or(known.map(str::to_owned)).unwrap_or_default();
    let version = of_known(&args.version, known.as_ref().and_then(|device| device.version()));
    let hardware = of_known(&args.hardware, known.as_ref().and_then(|device| device.hardware()));
    let ask = CheckIn {
        key: b"",
        serial: args.serial.as_bytes(),
        version: version.as_bytes(),
        hardware: hardware.as_bytes(),
        digest: args.digest.as_deref().map(digest).transpose()?,
        want: match args.want {
            Wanted::Firmware => Want::Firmware,
            Wanted::Config => Want::Config,
            Wanted::Resources => Want::Resources,
            Wanted::Resource => Want::Resource(args.resource.as_deref().unwrap_or_default().as_bytes()),
        },
    };
    let Ok(view) = index.view();
    let mut found = fetch_known(&view, &key, &ask).map_err(Failure::of)?;
    lend_place(&index, &mut found);
    match &source {
        Source::Sqlite(path) => look(&open(path)?, &mut found, at).map_err(Failure::of)?,
        Source::Postgres(description) => runtime()?
            .block_on(async { look_async(&connect(description).await?, &mut found, at).await.map_err(Failure::of) })?,
        Source::File(_) | Source::Json(_) => {}
    }
    let mut trace = Recorder::default();
    let decision = otagate::decide(&found.facts(), &ask, at, &mut trace);
    let json = serde_json::to_value(decision).map_err(Failure::of)?;
    Ok(Answer { json, line: show::decision(&decision), trace })
}

/// Where a device whose turn it is not yet stands among those that the next wave would count.
fn lend_place(index: &Index, found: &mut Found<'_>) {
    let place = found.identity().zip(found.group()).and_then(|((product, device), group)| {
        let rollout = group.rollout().filter(|rollout| rollout.is_active())?;
        let next = rollout.waves().iter().position(|wave| wave.opened.is_none())?;
        let Ok(place) = RolloutStore::place(index, product.id(), group, next, device.serial());
        place
    });
    if place.is_some() {
        found.lend_standing(StandingRecord { place, ..StandingRecord::default() });
    }
}

/// The key that is given, or the first valid one of the product that is.
fn key(args: &Ask, fleet: &Snapshot, at: Timestamp) -> Result<KeyHash, Failure> {
    let given = match (&args.key, &args.key_file) {
        (_, Some(path)) => {
            let mut bytes = std::fs::read(path).map_err(|error| Failure::io(path, error))?;
            while bytes.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
                bytes.pop();
            }
            Some(bytes)
        }
        (Some(key), None) => Some(key.clone().into_bytes()),
        (None, None) => None,
    };
    if let Some(key) = given {
        return KeyHash::of(&key).ok_or_else(|| Failure::new("the key is longer than any product's can be"));
    }
    let named = args.product.as_deref().unwrap_or_default();
    let product = fleet.product(named).ok_or_else(|| no_product(fleet, named))?;
    first_key(product, at).ok_or_else(|| {
        hint(format!("product `{}` has no key, so none of its devices may ask", product.id()), "give the product a key")
    })
}

pub(crate) fn no_product(fleet: &Snapshot, named: &str) -> Failure {
    let known: Vec<String> = fleet.products().map(|product| format!("`{}`", product.id())).collect();
    hint(format!("there is no product `{}`", named.escape_debug()), format!("the fleet has {}", known.join(", ")))
}

fn first_key(product: &Product, at: Timestamp) -> Option<KeyHash> {
    let valid = product.keys().iter().find(|key| {
        !key.revoked && key.not_before.is_none_or(|from| from <= at) && key.not_after.is_none_or(|end| at < end)
    });
    valid.or_else(|| product.keys().first()).map(|key| key.hash)
}

fn digest(text: &str) -> Result<SentDigest, Failure> {
    let read = text.split_once(':').and_then(|(kind, hex)| {
        let kind = match kind {
            "blake3" => DigestKind::Blake3,
            "sha256" => DigestKind::Sha256,
            "md5" => DigestKind::Md5,
            _ => return None,
        };
        SentDigest::parse(kind, hex.as_bytes())
    });
    read.ok_or_else(|| {
        hint(
            format!("`{}` is no digest", text.escape_debug()),
            "write blake3:, sha256: or md5: and as many hex digits as it has",
        )
    })
}
