//! From the plain words of `world.rs` into the crate's types, and a decision back into an `Answer`.

use super::world as plain;
use otagate::store::{GroupRecord, Lent, StandingRecord, View};
use otagate::*;
use std::convert::Infallible;

/// A world as a store: the crate's fleet, and beside it what a ledger would hold.
pub struct WorldStore {
    pub fleet: Fleet,
    world: plain::World,
}

impl WorldStore {
    pub fn new(world: &plain::World) -> Self {
        let spec = fleet_spec(world);
        let fleet = spec
            .build()
            .unwrap_or_else(|problems| panic!("the generator drew what a load refuses:\n{problems}\n{world:#?}"));
        Self { fleet, world: world.clone() }
    }

    /// The whole answer to a check-in, reduced to what the reference gives.
    pub fn answer(&self, ask: &plain::Ask) -> plain::Answer {
        self.decide(ask, plain_answer)
    }

    pub fn decide<R>(&self, ask: &plain::Ask, look: impl FnOnce(&Decision<'_>) -> R) -> R {
        let found = store::fetch(self, &check_in(ask)).unwrap();
        look(&decide(&found.facts(), &check_in(ask), Timestamp::from_millis(ask.now), &mut NoTrace))
    }

    pub fn trace(&self, ask: &plain::Ask) -> Recorder {
        let found = store::fetch(self, &check_in(ask)).unwrap();
        let mut recorder = Recorder::default();
        decide(&found.facts(), &check_in(ask), Timestamp::from_millis(ask.now), &mut recorder);
        recorder
    }
}

impl View for WorldStore {
    type Error = Infallible;

    fn revision(&self) -> Result<Revision, Infallible> {
        Ok(self.fleet.revision())
    }

    fn product_of_key(&self, key: &KeyHash) -> Result<Option<Lent<'_, Product>>, Infallible> {
        Ok(self.fleet.product_of_key(key).map(|entry| entry.product().into()))
    }

    fn device(&self, product: &ProductId, serial: &str) -> Result<Option<Lent<'_, Device>>, Infallible> {
        Ok(self.fleet.product(product.as_str()).and_then(|entry| entry.device(serial)).map(Lent::from))
    }

    fn group(
        &self,
        product: &Product,
        device: &Device,
        _: Option<&Lease>,
    ) -> Result<Option<GroupRecord<'_>>, Infallible> {
        let Some(entry) = self.fleet.product(product.id().as_str()) else { return Ok(None) };
        let Some(group) = entry.group(device.group().as_str()) else { return Ok(None) };
        let of = self.world.products.iter().find(|of| of.id == product.id().as_str()).unwrap();
        let owner = of.devices.iter().find(|of| of.serial == device.serial()).unwrap();
        let plain_group = of.groups.iter().find(|of| of.id == owner.group).unwrap();
        let at = Timestamp::from_millis;
        let standing = StandingRecord {
            claim_expires_at: owner.claim_expires_at.map(at),
            download_expires_at: owner.download_expires_at.map(at),
            penalty: owner.penalty.as_ref().map(|(hop, end)| (hop.as_str().into(), at(*end))),
            downloads_now: plain_group.downloads.map_or(0, |(_, now)| now),
            slots_taken: plain_group.rollout.as_ref().and_then(|rollout| rollout.first_come_taken).unwrap_or(0),
            ..StandingRecord::default()
        };
        Ok(Some(GroupRecord { group: group.into(), catalogue: entry.catalogue().into(), standing }))
    }
}

pub fn check_in(ask: &plain::Ask) -> CheckIn<'_> {
    let digest = ask.digest.as_ref().and_then(|(kind, hex)| {
        let kind = match *kind {
            "blake3" => DigestKind::Blake3,
            "sha256" => DigestKind::Sha256,
            _ => DigestKind::Md5,
        };
        SentDigest::parse(kind, hex)
    });
    let want = match &ask.want {
        plain::Want::Firmware => Want::Firmware,
        plain::Want::Config => Want::Config,
        plain::Want::ResourceList => Want::Resources,
        plain::Want::Resource(name) => Want::Resource(name),
    };
    CheckIn { key: &ask.key, serial: &ask.serial, version: &ask.version, hardware: &ask.hardware, digest, want }
}

pub fn plain_answer(decision: &Decision<'_>) -> plain::Answer {
    let (serves, artifact) = match &decision.verdict {
        Verdict::Serve(Offer::Firmware(offer)) => {
            (Some(offer.firmware.version().text().to_owned()), Some(offer.artifact.locator().to_owned()))
        }
        Verdict::Serve(Offer::Config(config)) => (None, config.digests().blake3.map(|digest| digest.to_string())),
        Verdict::Serve(Offer::Resource(resource)) => (None, resource.digests().blake3.map(|digest| digest.to_string())),
        Verdict::Serve(Offer::Resources(_)) => (None, Some(String::new())),
        _ => (None, None),
    };
    plain::Answer {
        status: decision.status(),
        reason: decision.reason.name(),
        retry_after_secs: decision.retry_after_secs.map(u64::from),
        serves,
        artifact,
        effect: decision.effect.as_ref().map(Effect::name),
    }
}

/// The fleet that says the same.
pub fn fleet_spec(world: &plain::World) -> FleetSpec {
    FleetSpec { revision: Revision(1), products: world.products.iter().map(product_spec).collect() }
}

fn product_spec(plain: &plain::Product) -> ProductFleetSpec {
    let scheme = match plain.version_scheme {
        "exact" => VersionScheme::Exact,
        "semver" => VersionScheme::Semver,
        _ => VersionScheme::Dotted,
    };
    let product = ProductSpec {
        id: plain.id.clone(),
        keys: (plain.keys.iter())
            .map(|key| ApiKey {
                hash: KeyHash::of(&key.secret).unwrap(),
                revoked: key.revoked,
                not_before: key.not_before.map(Timestamp::from_millis),
                not_after: key.not_after.map(Timestamp::from_millis),
            })
            .collect(),
        serial_scheme: serial_scheme(plain.serial_scheme),
        placeholders: plain.placeholders.clone(),
        versions: VersionRulesSpec {
            scheme,
            prefixes: plain.prefixes.clone(),
            build_metadata: if plain.build_counts { BuildMetadata::CountsForEquality } else { BuildMetadata::Ignored },
            empty: if plain.hold_empty { EmptyVersion::Hold } else { EmptyVersion::Lowest },
            unreadable: if plain.hold_unreadable { UnreadableVersion::Held } else { UnreadableVersion::Lowest },
        },
        already_there: match plain.already_there {
            "either" => AlreadyThere::Either,
            "version" => AlreadyThere::Version,
            _ => AlreadyThere::Digest,
        },
        register_on_first_contact: plain.registers,
        new_devices_max: 1_000,
        default_group: "default".into(),
        retry_spread_secs: plain.spread_secs.try_into().unwrap(),
        poll_interval_secs: plain.poll_secs.map(|secs| secs.try_into().unwrap()),
    };
    let firmware = (plain.firmware.iter())
        .map(|one| FirmwareSpec {
            version: one.version.clone(),
            from: one.from.clone(),
            stone: one.stone,
            denied: one.denied,
            artifacts: (one.artifacts.iter())
                .map(|artifact| ArtifactSpec {
                    hardware: artifact.hardware.clone(),
                    from: artifact.from.clone(),
                    base: digests(&artifact.base),
                    size_bytes: 1,
                    digests: digests(&artifact.digests),
                    locator: artifact.locator.clone(),
                })
                .collect(),
        })
        .collect();
    let devices = (plain.devices.iter())
        .map(|device| DeviceSpec {
            serial: device.serial.clone(),
            state: match device.state {
                "new" => DeviceState::New,
                "verified" => DeviceState::Verified,
                "blocked" => DeviceState::Blocked,
                "disabled" => DeviceState::Disabled,
                _ => DeviceState::Quota,
            },
            group: device.group.clone(),
            entered_at: Timestamp::from_millis(device.entered_at),
            pin: device.pin.clone(),
            cap: device.cap.clone(),
            ..DeviceSpec::default()
        })
        .collect();
    ProductFleetSpec { product, firmware, groups: plain.groups.iter().map(group_spec).collect(), devices }
}

pub fn serial_scheme(name: &str) -> SerialScheme {
    match name {
        "opaque" => SerialScheme::Opaque,
        "opaque-nocase" => SerialScheme::OpaqueNocase,
        "mac" => SerialScheme::Mac,
        "hex" => SerialScheme::Hex,
        _ => SerialScheme::Decimal,
    }
}

fn digests(plain: &plain::Digests) -> Digests {
    let parse = |hex: &str| (!hex.is_empty()).then(|| Hex::parse(hex.as_bytes()).unwrap());
    let md5 = (!plain.md5.is_empty()).then(|| Hex::parse(plain.md5.as_bytes()).unwrap());
    Digests { blake3: parse(&plain.blake3), sha256: parse(&plain.sha256), md5 }
}

fn group_spec(plain: &plain::Group) -> GroupSpec {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let window = plain.window.as_ref().map(|spans| {
        let texts =
            spans.iter().map(|span| format!("{} {}-{}", DAYS[span.weekday as usize], clock(span.from), clock(span.to)));
        Window::parse(&texts.collect::<Vec<_>>()).unwrap()
    });
    GroupSpec {
        id: plain.id.clone(),
        firmware: plain.baseline.clone(),
        policy: if plain.forward_only { Policy::ForwardOnly } else { Policy::AnyDifference },
        cap: plain.cap.clone(),
        config: plain.config.as_ref().map(config_spec),
        resources: plain.resources.as_ref().map(|list| list.iter().map(resource_spec).collect()),
        window,
        downloads_max: plain.downloads.map(|(max, _)| max),
        rollout: plain.rollout.as_ref().map(rollout_spec),
        aborted: plain.aborted.as_ref().map(|(target, downgrade)| AbortedSpec {
            target: target.clone(),
            fate: if *downgrade { Fate::Downgrade } else { Fate::Leave },
        }),
    }
}

/// A plain configuration's name is its document, and its BLAKE3 that of the name (`draw.rs`).
fn config_spec(plain: &plain::Document) -> ConfigSpec {
    ConfigSpec { document: plain.name.clone(), digests: digests(&plain.digests) }
}

fn resource_spec(plain: &plain::Document) -> ResourceSpec {
    ResourceSpec {
        name: plain.name.clone(),
        size_bytes: 1,
        digests: digests(&plain.digests),
        locator: "somewhere".into(),
    }
}

fn rollout_spec(plain: &plain::Rollout) -> RolloutSpec {
    let waves = (plain.waves.iter())
        .map(|wave| Wave {
            size: wave.count.map_or(WaveSize::All, WaveSize::First),
            gate: Gate::default(),
            opened: wave.open.then_some(Opened {
                at: Timestamp::from_millis(0),
                threshold: wave.threshold,
                counted: None,
                newcomers: None,
                eligible: None,
            }),
        })
        .collect();
    let target = match &plain.target {
        plain::Target::Firmware(version) => TargetSpec::Firmware(version.clone()),
        plain::Target::Config(config) => TargetSpec::Config(config_spec(config)),
        plain::Target::Resources(list) => TargetSpec::Resources(list.iter().map(resource_spec).collect()),
    };
    RolloutSpec {
        salt: plain.salt.clone(),
        state: match plain.state {
            "draft" => RolloutState::Draft,
            "running" => RolloutState::Running,
            "paused" => RolloutState::Paused { cut: false, why: String::new() },
            "cut" => RolloutState::Paused { cut: true, why: String::new() },
            "completed" => RolloutState::Completed,
            _ => RolloutState::Aborted,
        },
        started_at: Some(Timestamp::from_millis(plain.started_at)),
        late: if plain.tail { Late::Tail } else { Late::Open },
        admission: if plain.first_come_taken.is_some() { Admission::FirstCome } else { Admission::Rank },
        first: plain.first.clone(),
        excluded: plain.excluded.clone(),
        ..RolloutSpec::new(&plain.id, target, waves)
    }
}
