//! Rows that somebody writes by SQL are followed like any other, and not trusted: what is wrong is told by its key and kept out, what stood there before keeps
//! serving, and all else goes on.
#![cfg(all(feature = "sqlite", feature = "postgres"))]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/postgres.rs"]
mod server;

use folder::Folder;
use otagate::feed::{Feed, Follower, KeptOut, Took};
use otagate::postgres::PostgresStore;
use otagate::sqlite::{SqliteFeed, SqliteStore};
use otagate::*;
use server::Postgres;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// A lamp with three firmware, two groups and four devices.
fn lamps() -> Fleet {
    let firmware = |version: &str| FirmwareSpec {
        version: version.into(),
        artifacts: vec![ArtifactSpec {
            size_bytes: 1,
            digests: Digests::blake3_of(version.as_bytes()),
            locator: version.into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let group = |id: &str| GroupSpec { id: id.into(), firmware: Some("1.0.0".into()), ..Default::default() };
    let device = |serial: &str, group: &str| DeviceSpec {
        serial: serial.into(),
        state: DeviceState::Verified,
        group: group.into(),
        ..Default::default()
    };
    let product = ProductSpec {
        id: "lamp".into(),
        keys: vec![ApiKey::new(KeyHash::of(b"key").unwrap())],
        serial_scheme: SerialScheme::Decimal,
        versions: VersionRulesSpec { scheme: VersionScheme::Semver, ..Default::default() },
        ..Default::default()
    };
    let lamp = ProductFleetSpec {
        product,
        firmware: vec![firmware("1.0.0"), firmware("2.0.0"), firmware("3.0.0")],
        groups: vec![group("stable"), group("beta")],
        devices: vec![device("1", "stable"), device("2", "stable"), device("3", "beta"), device("4", "beta")],
    };
    FleetSpec { revision: Revision(1), products: vec![lamp] }.build().unwrap()
}

/// A database that is written to by hand, and an index that follows it.
trait Tables {
    /// One transaction.
    fn sql(&mut self, sql: &str);
    fn follow(&mut self) -> Took;
    fn loaded_anew(&self) -> Fleet;
    fn apply(&self, changes: &[Change]) -> Result<Revision, Problems>;
    fn follower(&self) -> &Follower;
    /// The name of a table here.
    fn table(&self, name: &str) -> String;

    fn told(&self, serial: &str, version: &str) -> String {
        let ask = CheckIn { version: version.as_bytes(), ..CheckIn::new(b"key", serial.as_bytes()) };
        let mut reader = self.follower().index().reader();
        let told = reader.decide(&ask, NOW, &mut NoTrace);
        let meant = told.firmware_offer().map_or_else(String::new, |offer| format!(" {}", offer.firmware.version()));
        format!("{}{meant}", told.reason.name())
    }

    fn kept_out(&self) -> Vec<String> {
        self.follower().status().kept_out().iter().map(|KeptOut { key, .. }| key.to_string()).collect()
    }

    /// The index is the table.
    #[track_caller]
    fn assert_equal(&mut self) {
        self.follow();
        assert_eq!(self.follower().index().snapshot().spec(), self.loaded_anew().spec());
        assert_eq!(self.follower().status().lag(), 0);
    }
}

struct File {
    by_hand: rusqlite::Connection,
    store: SqliteStore,
    feed: SqliteFeed,
    follower: Follower,
    _folder: Folder,
}

impl File {
    fn new() -> Self {
        let folder = Folder::new("by-hand");
        let store = SqliteStore::open(folder.path().join("fleet.db")).unwrap();
        store.replace(&lamps()).unwrap();
        let feed = store.feed().unwrap();
        let by_hand = rusqlite::Connection::open(store.path()).unwrap();
        by_hand.pragma_update(None, "foreign_keys", true).unwrap();
        let follower = Follower::new(Index::new(&Fleet::default()));
        Self { by_hand, store, feed, follower, _folder: folder }
    }
}

impl Tables for File {
    fn sql(&mut self, sql: &str) {
        self.by_hand.execute_batch(&format!("BEGIN; {sql}; COMMIT")).unwrap();
    }

    fn follow(&mut self) -> Took {
        self.follower.sync(&mut self.feed).unwrap()
    }

    fn loaded_anew(&self) -> Fleet {
        let mut follower = Follower::new(Index::new(&Fleet::default()));
        follower.load(self.store.feed().unwrap().load().unwrap());
        let loaded = follower.index().snapshot().to_fleet();
        assert!(loaded == self.store.fleet().unwrap());
        loaded
    }

    fn apply(&self, changes: &[Change]) -> Result<Revision, Problems> {
        self.store.apply(changes).unwrap()
    }

    fn follower(&self) -> &Follower {
        &self.follower
    }

    fn table(&self, name: &str) -> String {
        format!("otagate_{}", if name == "groups" { "group" } else { name })
    }
}

struct Server {
    runtime: tokio::runtime::Runtime,
    server: Postgres,
    store: PostgresStore,
    feed: otagate::postgres::PostgresFeed,
    follower: Follower,
}

impl Server {
    fn new() -> Self {
        let server = Postgres::start();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store = runtime.block_on(PostgresStore::connect(&server.conninfo(), 6)).unwrap();
        runtime.block_on(store.replace(&lamps())).unwrap();
        let feed = store.feed(2);
        Self { runtime, server, store, feed, follower: Follower::new(Index::new(&Fleet::default())) }
    }
}

impl Tables for Server {
    fn sql(&mut self, sql: &str) {
        self.server.psql(&format!("BEGIN; {sql}; COMMIT;"));
    }

    fn follow(&mut self) -> Took {
        self.runtime.block_on(self.follower.sync_async(&mut self.feed)).unwrap()
    }

    fn loaded_anew(&self) -> Fleet {
        use otagate::feed::AsyncFeed;
        let mut follower = Follower::new(Index::new(&Fleet::default()));
        let mut feed = self.store.feed(3);
        follower.load(self.runtime.block_on(feed.load()).unwrap());
        let loaded = follower.index().snapshot().to_fleet();
        assert!(loaded == self.runtime.block_on(self.store.fleet()).unwrap());
        loaded
    }

    fn apply(&self, changes: &[Change]) -> Result<Revision, Problems> {
        self.runtime.block_on(self.store.apply(changes)).unwrap()
    }

    fn follower(&self) -> &Follower {
        &self.follower
    }

    fn table(&self, name: &str) -> String {
        format!("otagate.{name}")
    }
}

/// A document of a group, as an operator would change it.
fn group_document(id: &str, firmware: &str, more: &str) -> String {
    format!(r#"{{"id":"{id}","firmware":"{firmware}"{more}}}"#)
}

fn sound_rows_are_followed(on: &mut dyn Tables) {
    assert_eq!(on.follow(), Took::Load);
    let (device, groups, firmware) = (on.table("device"), on.table("groups"), on.table("firmware"));
    let product = on.table("product");
    assert_eq!(on.told("1", "0.9.0"), "serve 1.0.0");
    // One statement for many rows, a row that gets another key, a row that goes, one that comes.
    on.sql(&format!("UPDATE {device} SET state = 'blocked' WHERE group_id = 'stable'"));
    assert_eq!(on.follow(), Took::Patch);
    assert_eq!((on.told("1", "0.9.0"), on.told("2", "0.9.0")), ("device-blocked".into(), "device-blocked".into()));
    on.sql(&format!(
        "UPDATE {device} SET serial = '9' WHERE serial = '3'; DELETE FROM {device} WHERE serial = '4';
         INSERT INTO {device} (product, serial, state, group_id) VALUES ('lamp', '5', 'verified', 'beta')"
    ));
    on.assert_equal();
    let told: Vec<String> = ["3", "4", "5", "9"].iter().map(|serial| on.told(serial, "0.9.0")).collect();
    assert_eq!(told, ["device-unknown", "device-unknown", "serve 1.0.0", "serve 1.0.0"]);
    // Documents.
    let document = group_document("beta", "2.0.0", r#","cap":"2.5.0""#);
    on.sql(&format!("UPDATE {groups} SET document = '{document}' WHERE id = 'beta'"));
    on.assert_equal();
    assert_eq!(on.told("5", "0.9.0"), "serve 2.0.0");
    on.sql(&format!("DELETE FROM {firmware} WHERE version = '2.0.0'"));
    on.assert_equal();
    assert_eq!(on.told("5", "0.9.0"), "firmware-missing");
    // A product with all that is its own.
    on.sql(&format!("DELETE FROM {product} WHERE id = 'lamp'"));
    on.assert_equal();
    assert_eq!(on.told("5", "0.9.0"), "key-unknown");
    assert_eq!(on.kept_out(), [""; 0]);
    // What is put back by a change is the same in both.
    on.apply(&[Change::PutProduct { product: ProductSpec { id: "lamp".into(), ..Default::default() } }]).unwrap();
    on.assert_equal();
}

fn bad_rows_are_kept_out(on: &mut dyn Tables) {
    on.follow();
    let (device, groups, firmware) = (on.table("device"), on.table("groups"), on.table("firmware"));
    let good = on.loaded_anew();
    // A state that is none, a serial that is not canonical, a pin that cannot be, a name that another document has.
    on.sql(&format!(
        "UPDATE {device} SET state = 'bloked' WHERE serial = '1'; UPDATE {device} SET pin = 'x' WHERE serial = '2';
         INSERT INTO {device} (product, serial, state, group_id) VALUES ('lamp', 'x7', 'verified', 'stable');
         UPDATE {groups} SET document = '{}' WHERE id = 'beta'",
        group_document("gamma", "2.0.0", "")
    ));
    assert_eq!(on.follow(), Took::Patch);
    let kept = on.kept_out();
    assert_eq!(
        kept,
        [
            "group `beta` of product `lamp`",
            "device `1` of product `lamp`",
            "device `2` of product `lamp`",
            "device `x7` of product `lamp`"
        ]
    );
    let status = on.follower().status();
    let why: Vec<String> = status.kept_out().iter().map(|kept| kept.why.clone()).collect();
    assert!(why[0].contains("its document is of `gamma`"), "{why:?}");
    assert!(why[1].contains("`bloked` is no state: give one of new, verified"), "{why:?}");
    // What stood there serves on, each row as it was.
    assert!(on.follower().index().snapshot().to_fleet().at_revision(good.revision()) == good);
    assert_eq!((on.told("1", "0.9.0"), on.told("3", "0.9.0")), ("serve 1.0.0".into(), "serve 1.0.0".into()));
    // All else goes on, by hand and by changes: also in the very product.
    let lamp = ProductId::new("lamp").unwrap();
    let stable = GroupId::new("stable").unwrap();
    let assign = Change::AssignFirmware { product: lamp.clone(), group: stable, firmware: Some("2.0.0".into()) };
    on.apply(&[assign]).unwrap();
    on.follow();
    assert_eq!((on.told("1", "0.9.0"), on.kept_out().len()), ("serve 2.0.0".into(), 4));
    // What is about a row that is kept out is refused, and says so.
    let beta = GroupId::new("beta").unwrap();
    let assign = Change::AssignFirmware { product: lamp.clone(), group: beta, firmware: Some("2.0.0".into()) };
    let problems = on.apply(&[assign]).unwrap_err().to_string();
    assert!(problems.contains("group `beta` of product `lamp` is kept out, and has to be mended first"), "{problems}");
    let block = Change::SetDeviceState { product: lamp.clone(), serial: "1".into(), state: DeviceState::Blocked };
    let problems = on.apply(&[block]).unwrap_err().to_string();
    assert!(problems.contains("device `1` of product `lamp` is kept out"), "{problems}");
    // A change that writes the row whole mends it; so does a hand.
    let spec =
        DeviceSpec { serial: "1".into(), state: DeviceState::Blocked, group: "stable".into(), ..Default::default() };
    on.apply(&[Change::PutDevice { product: lamp, device: spec }]).unwrap();
    on.sql(&format!(
        "UPDATE {device} SET pin = NULL WHERE serial = '2'; DELETE FROM {device} WHERE serial = 'x7';
         UPDATE {groups} SET document = '{}' WHERE id = 'beta'",
        group_document("beta", "3.0.0", "")
    ));
    on.assert_equal();
    assert_eq!(on.kept_out(), [""; 0]);
    assert_eq!((on.told("1", "0.9.0"), on.told("3", "0.9.0")), ("device-blocked".into(), "serve 3.0.0".into()));
    // A pin and a cap that cannot stand beside each other: the device goes, and comes back with the cap.
    on.sql(&format!("UPDATE {device} SET pin = '3.0.0' WHERE serial = '3'"));
    on.assert_equal();
    on.sql(&format!(
        "UPDATE {groups} SET document = '{}' WHERE id = 'beta'",
        group_document("beta", "1.0.0", r#","cap":"1.5.0""#)
    ));
    on.assert_equal();
    assert_eq!((on.told("3", "0.9.0"), on.told("4", "0.9.0")), ("device-unknown".into(), "serve 1.0.0".into()));
    assert_eq!(on.kept_out(), ["device `3` of product `lamp`"]);
    on.sql(&format!("UPDATE {groups} SET document = '{}' WHERE id = 'beta'", group_document("beta", "1.0.0", "")));
    on.assert_equal();
    assert_eq!((on.told("3", "0.9.0"), on.kept_out()), ("serve 3.0.0".into(), Vec::new()));
    // Equal versions: the one that came later is kept out.
    let twin = r#"{"version":"v2.0.0","artifacts":[{"size_bytes":1,"locator":"x","digests":{}}]}"#;
    on.sql(&format!("INSERT INTO {firmware} (product, version, document) VALUES ('lamp', 'v2.0.0', '{twin}')"));
    on.follow();
    assert_eq!(on.kept_out(), ["firmware `v2.0.0` of product `lamp`"]);
}

/// Question 3: no more strangers than the product takes, however they come.
fn strangers_are_limited(on: &mut dyn Tables) {
    let lamp = ProductId::new("lamp").unwrap();
    let mut product = lamps().product("lamp").unwrap().product().spec();
    (product.register_on_first_contact, product.new_devices_max) = (true, 3);
    on.apply(&[Change::PutProduct { product }]).unwrap();
    let register = |serial: &str| Change::Register { product: lamp.clone(), serial: serial.into(), at: NOW };
    on.apply(&[register("11"), register("12")]).unwrap();
    let before = on.apply(&[register("11")]).unwrap();
    let after = on.apply(&[register("13"), register("14"), register("15")]).unwrap();
    assert_eq!(after, Revision(before.0 + 1));
    assert_eq!(on.apply(&[register("16")]).unwrap(), after, "one more changes nothing");
    on.assert_equal();
    let snapshot = on.follower().index().snapshot();
    let there = ["11", "12", "13", "14", "15", "16"].map(|serial| snapshot.device("lamp", serial).is_some());
    assert_eq!(there, [true, true, true, false, false, false]);
}

#[test]
fn sqlite_takes_no_more_strangers_than_it_may() {
    strangers_are_limited(&mut File::new());
}

#[test]
fn postgres_takes_no_more_strangers_than_it_may() {
    strangers_are_limited(&mut Server::new());
}

#[test]
fn sqlite_rows_by_hand_are_followed() {
    sound_rows_are_followed(&mut File::new());
}

#[test]
fn sqlite_bad_rows_are_kept_out() {
    bad_rows_are_kept_out(&mut File::new());
}

#[test]
fn postgres_rows_by_hand_are_followed() {
    sound_rows_are_followed(&mut Server::new());
}

#[test]
fn postgres_bad_rows_are_kept_out() {
    bad_rows_are_kept_out(&mut Server::new());
}

/// A group that is assigned a firmware whose minimum `from` cannot be read would take devices past it: both wait for both.
#[test]
fn what_one_transaction_wrote_is_taken_together_or_not_at_all() {
    let mut on = Server::new();
    on.follow();
    let bad = r#"{"version":"3.0.0","from":"two","artifacts":[]}"#;
    on.sql(&format!(
        "UPDATE otagate.firmware SET document = '{bad}' WHERE version = '3.0.0';
         UPDATE otagate.groups SET document = '{}' WHERE id = 'stable'",
        group_document("stable", "3.0.0", "")
    ));
    on.follow();
    assert_eq!(on.told("1", "0.9.0"), "serve 1.0.0");
    assert_eq!(on.kept_out(), ["firmware `3.0.0` of product `lamp`", "group `stable` of product `lamp`"]);
    let status = on.follower().status();
    let why = &status.kept_out()[1].why;
    assert_eq!(why, "was written along with firmware `3.0.0` of product `lamp`, which is kept out");
    // Another group of another transaction goes on meanwhile.
    on.sql(&format!(
        "UPDATE otagate.groups SET document = '{}' WHERE id = 'beta'",
        group_document("beta", "2.0.0", "")
    ));
    on.follow();
    assert_eq!((on.told("1", "0.9.0"), on.told("3", "0.9.0")), ("serve 1.0.0".into(), "serve 2.0.0".into()));
}

/// Tables that are emptied at once, a copy of many rows, and a log that was forgotten.
#[test]
fn postgres_is_followed_through_truncate_copy_and_a_forgotten_log() {
    let mut on = Server::new();
    on.follow();
    on.sql("TRUNCATE otagate.device");
    assert_eq!(on.follow(), Took::Load);
    on.assert_equal();
    on.sql(
        "INSERT INTO otagate.device (product, serial, state, group_id)
         SELECT 'lamp', n::text, 'verified', 'stable' FROM generate_series(1, 5000) n",
    );
    assert_eq!(on.follow(), Took::Patch);
    on.assert_equal();
    assert_eq!(on.follower().index().snapshot().devices_len(), 5_000);
    on.sql("UPDATE otagate.device SET group_id = 'beta' WHERE serial < '2'");
    let revision = on.runtime.block_on(on.store.revision()).unwrap();
    on.runtime.block_on(on.store.prune_log(revision)).unwrap();
    assert_eq!(on.follow(), Took::Load);
    on.assert_equal();
}
