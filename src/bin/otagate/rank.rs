//! `rank`: in which order a rollout reaches devices (R2).

use crate::args::{Format, Rank};
use crate::ask::no_product;
use crate::failure::{Failure, hint};
use crate::fleets::Source;
use crate::{Done, now, show};
use anstream::println;
use otagate::{Index, rank};

pub(crate) fn run(args: &Rank, format: Format) -> Result<Done, Failure> {
    let of = |serial: &str| rank(&args.salt, &args.product, serial);
    let mut ranked: Vec<(u64, String)> = args.serials.iter().map(|serial| (of(serial), serial.clone())).collect();
    if let (Some(fleet), Some(group)) = (&args.fleet, &args.group) {
        let index = Index::new(&Source::of(fleet)?.read(now())?.fleet);
        let snapshot = index.snapshot();
        if snapshot.product(&args.product).is_none() {
            return Err(no_product(&snapshot, &args.product));
        }
        snapshot.scan(&args.product, Some(group), |member| {
            let serial = member.serial();
            ranked.push((of(serial.as_str()), serial.as_str().to_owned()));
        });
        if ranked.is_empty() {
            let what = format!("product `{}` has no device in a group `{}`", args.product, group.escape_debug());
            return Err(hint(what, "look for the group's name in the fleet"));
        }
        ranked.sort_unstable();
        ranked.truncate(args.first.unwrap_or(usize::MAX));
    }
    match format {
        Format::Json => {
            // A number of 64 bits is a text, since many readers of JSON keep 53 of them.
            let one =
                |(rank, serial): &(u64, String)| serde_json::json!({ "serial": serial, "rank": rank.to_string() });
            show::json(&ranked.iter().map(one).collect::<Vec<_>>())?;
        }
        Format::Text => {
            for (rank, serial) in ranked {
                println!("{rank:>20}  {}", serial.escape_debug());
            }
        }
    }
    Ok(Done::Well)
}
