//! What an operator sees of a fleet file: a fleet, or everything that is wrong with its files at once.
#![cfg(feature = "fleet-file")]

use otagate::fleet_file::{
    DEVICES_BYTES_MAX, FileProblem, LoadError, Loaded, PROBLEMS_MAX, digest_file, load, load_over,
};
use otagate::{
    Admission, Change, Device, DeviceState, Fleet, Gate, GroupId, Halt, Hex, Missing, Opened, Penalty, ProductId,
    Progress, Revision, RolloutId, RolloutState, Success, Timestamp, VERSION_BYTES_MAX, rank,
};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own for one test, with a firmware folder, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("otagate-fleet-file-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(folder.0.join("firmware")).unwrap();
        folder
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(name, content);
        self
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.join("fleet.toml")
    }

    fn load(&self) -> Result<Loaded, LoadError> {
        load(&self.path(), now())
    }

    fn load_over(&self, previous: &Fleet) -> Result<Loaded, LoadError> {
        load_over(&self.path(), previous, now().plus_secs(3_600))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn now() -> Timestamp {
    Timestamp::parse("2026-11-02T06:00:00Z").unwrap()
}

/// Each problem without the folder of its file.
fn told(loaded: Result<Loaded, LoadError>) -> Vec<String> {
    match loaded.expect_err("the files should have been refused") {
        LoadError::Problems(problems) => problems.list().iter().map(short).collect(),
        other => panic!("{other}"),
    }
}

fn short(problem: &FileProblem) -> String {
    let file = problem.file.file_name().unwrap().to_str().unwrap();
    format!("{file}:{}:{}: {}", problem.line, problem.column, problem.message)
}

const HEAD: &str = r#"
[[product]]
id = "p"
default_group = "g"
versions = { scheme = "semver" }
devices = "d.csv"
[[product.key]]
key = "secret"
[[product.firmware]]
version = "1.0.0"
artifact = [{ file = "1.bin" }]
[[product.firmware]]
version = "2.0.0"
artifact = [{ file = "2.bin" }]
[[product.group]]
id = "g"
firmware = "1.0.0"
"#;

/// A product with firmware 1.0.0 and 2.0.0, `rest` after its group `g`, and so many devices `d0`, `d1`, ... in it.
fn fleet(rest: &str, devices: u32) -> Folder {
    let mut rows = "serial\n".to_owned();
    (0..devices).for_each(|n| writeln!(rows, "d{n}").unwrap());
    let folder = Folder::new().with("firmware/1.bin", "one").with("firmware/2.bin", "two").with("d.csv", rows);
    folder.with("fleet.toml", format!("{HEAD}{rest}"))
}

fn rollout(keys: &str, waves: &str) -> String {
    format!(
        "[product.group.rollout]\nid = \"r\"\ntarget = \"2.0.0\"\nstate = \"running\"\n\
         started_at = 2026-11-01T08:00:00Z\n{keys}\nwaves = [{waves}]\n"
    )
}

fn opened(fleet: &Fleet, wave: usize) -> Option<Opened> {
    fleet.product("p").unwrap().group("g").unwrap().rollout().unwrap().waves()[wave].opened
}

fn device<'f>(fleet: &'f Fleet, serial: &str) -> &'f Device {
    fleet.product("p").unwrap().device(serial).unwrap()
}

#[test]
fn the_documented_example_is_taken_as_it_reads() {
    let loaded = load(Path::new("src/fleet_file/example/fleet.toml"), now()).unwrap();
    assert_eq!(loaded.fleet.revision(), Revision(1));
    assert_eq!(loaded.lints.list(), []);
    assert_eq!(loaded.firmware_dir, Path::new("src/fleet_file/example/firmware"));
    let locators: Vec<_> = loaded.files.iter().map(|file| file.locator.as_str()).collect();
    assert_eq!(locators, ["logo.txt", "thermostat-2.1.0-2.2.0.delta", "thermostat-2.1.0.bin", "thermostat-2.2.0.bin"]);

    let spec = loaded.fleet.spec();
    let product = &spec.products[0];
    let firmware: Vec<_> = product.firmware.iter().map(|firmware| firmware.version.as_str()).collect();
    assert_eq!(firmware, ["2.1.0", "2.2.0", "2.3.0-rc.1"]);
    let delta = &product.firmware[1].artifacts[1];
    assert_eq!((delta.from.as_deref(), delta.size_bytes), (Some("2.1.0"), 20));
    assert_eq!(delta.base, product.firmware[0].artifacts[0].digests);
    let stable = product.groups.iter().find(|group| group.id == "stable").unwrap();
    assert_eq!(stable.config.as_ref().unwrap().document.trim_end().len(), 53);
    assert!(stable.config.as_ref().unwrap().digests.md5.is_some());
    assert_eq!(stable.resources.as_ref().unwrap()[0].locator, "logo.txt");
    let waves = &stable.rollout.as_ref().unwrap().waves;
    assert_eq!(waves[1].gate.success_share_bps, Some(9_500));
    // The fleet reads as it was written: built again from its own specification it is the same.
    assert_eq!(spec.build().unwrap(), loaded.fleet);
}

/// Seen: an operator mended one line after the other, with a load between each two.
#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let refused = load(Path::new("tests/fleet_file/mistakes/fleet.toml"), now()).unwrap_err();
    let expected = include_str!("fleet_file/mistakes/expected.txt");
    assert!(expected.lines().count() > 30);
    for (told, expected) in refused.to_string().lines().zip(expected.lines()) {
        assert_eq!(told, expected);
    }
    assert_eq!(refused.to_string(), expected.trim_end());
}

/// Seen: a missing quote, and a page of complaints about keys that stood in the file.
#[test]
fn a_slip_in_the_syntax_is_not_followed_by_what_follows_from_it() {
    let folder = fleet("policy = \"forward-only\ncap = \"9.9.9\"\nwindows = [\"daily 01:00-02:00\"]\n", 0);
    assert_eq!(
        told(folder.load()),
        [
            "fleet.toml:18:23: is no TOML: invalid basic string, expected `\"`",
            "fleet.toml:20:1: unknown key `windows`: did you mean `window`? a group has `id`, `firmware`, `policy`, `cap`, \
             `window`, `config`, `resources`, `downloads_max`, `aborted`, `rollout`",
        ]
    );
    let folder = Folder::new().with("fleet.toml", "[[product]\nid = \"p\"\n[[product.firmware]]\nversion = 2.1.0\n");
    assert_eq!(
        told(folder.load()),
        [
            "fleet.toml:1:11: is no TOML: unclosed array table, expected `]`",
            "fleet.toml:4:14: is no TOML: invalid float, expected nothing: put a text, such as a version, in quotes"
        ]
    );
}

#[test]
fn the_census_at_load_counts_exactly() {
    let waves = "{ size = 10, open = true }, { size = \"25 %\", open = true }, { size = \"all\" }";
    let loaded = fleet(&rollout("excluded = [\"d7\"]", waves), 500).load().unwrap();
    assert_eq!(loaded.counted.len(), 2);
    for (wave, size) in [(0, 10), (1, 125)] {
        let opened = opened(&loaded.fleet, wave).unwrap();
        assert_eq!((opened.at, opened.counted, opened.eligible), (now(), Some(size), Some(499)));
        let inside = (0..500).filter(|n| *n != 7).map(|n| rank("r", "p", &format!("d{n}")));
        assert_eq!(inside.filter(|rank| *rank <= opened.threshold.unwrap()).count() as u64, size);
    }
    assert_eq!(opened(&loaded.fleet, 2), None);
    let line = loaded.counted[0].to_string();
    assert!(
        line.starts_with("product `p`, group `g`, rollout `r`: wave 1 was opened by a census, 10 of 499 devices; ")
    );
    // The line is what it says it is: written into the file it opens the same wave without a census.
    let stated = line.split('`').nth(7).unwrap();
    let again = fleet(&rollout("", &format!("{{ size = 10, {stated} }}")), 3).load().unwrap();
    assert_eq!(again.counted, []);
    assert_eq!(opened(&again.fleet, 0).unwrap().threshold, opened(&loaded.fleet, 0).unwrap().threshold);
}

/// Seen: 200 devices were added to the file, and the canary of ten was another ten.
#[test]
fn a_reload_moves_no_threshold() {
    let waves = "{ size = 10, open = true }, { size = \"all\" }";
    let folder = fleet(&rollout("", waves), 300);
    let before = folder.load().unwrap();
    let more = fleet(&rollout("", waves), 500);
    more.write("fleet.toml", std::fs::read(folder.path()).unwrap());
    let after = more.load_over(&before.fleet).unwrap();
    assert_eq!(opened(&after.fleet, 0), opened(&before.fleet, 0));
    assert_eq!(after.counted, []);
    assert_eq!(after.fleet.product("p").unwrap().devices().len(), 500);
    assert_eq!(after.fleet.revision(), Revision(2));
    // A wave that was opened since is open, whatever the file says; the next one is counted anew and closes nobody out.
    let next = "{ size = 10 }, { size = 40, open = true }, { size = \"all\" }";
    let start = "2026-11-01T08:00:00Z";
    let unsaid = format!("{HEAD}{}", rollout("", next)).replace(&format!("started_at = {start}\n"), "");
    more.write("fleet.toml", unsaid);
    let later = more.load_over(&after.fleet).unwrap();
    assert_eq!(opened(&later.fleet, 0), opened(&before.fleet, 0));
    assert_eq!(opened(&later.fleet, 1).unwrap().counted, Some(40));
    let rollout = later.fleet.spec().products[0].groups[0].rollout.clone().unwrap();
    assert_eq!(rollout.started_at, Timestamp::parse(start));
}

#[test]
fn a_reload_refuses_what_is_frozen() {
    let waves = "{ size = 10, open = true }, { size = \"all\" }";
    let before = fleet(&rollout("", waves), 30).load().unwrap().fleet;
    let over = |text: String| told(fleet(&text, 30).load_over(&before));
    let threshold = opened(&before, 0).unwrap().threshold.unwrap();

    assert_eq!(
        over(rollout("late = \"tail\"\nsalt = \"other\"", waves)),
        [
            "fleet.toml:18:1: `r`: the late rule is frozen once a wave is open (R7): make a new rollout",
            "fleet.toml:18:1: `r`: the salt is frozen once a wave is open (R7): make a new rollout",
        ]
    );
    assert_eq!(
        over(rollout("", "{ size = 10, open = true, threshold = 7 }")),
        [format!(
            "fleet.toml:24:48: the wave is open by the threshold {threshold}, which is frozen (R3, R7): write that, or leave it out"
        )]
    );
    // Nor is an edit passed over that would change nothing.
    assert_eq!(
        over(rollout("", "{ size = 10, open = false, opened_at = 2026-11-02T05:00:00Z }").replace("11-01T", "11-02T")),
        [
            "fleet.toml:22:14: the rollout started at 2026-11-01T08:00:00Z, and the start is frozen (R7): write that, or leave it out",
            "fleet.toml:24:30: the wave is open, and an open wave never closes (R7): write `open = true`, or leave it out",
            "fleet.toml:24:49: the wave was opened at 2026-11-02T06:00:00Z, which is frozen (R7): write that, or leave it out",
        ]
    );
    // A wave that is opened in the same edit as the rollout is paused, or while it is.
    let both_open = "{ size = 10, open = true }, { size = \"all\", open = true }";
    assert_eq!(
        over(rollout("", both_open).replace("\"running\"", "\"paused\"")),
        [
            "fleet.toml:24:38: is opened while the rollout does not run, and waves open only while it runs (R7): resume it first"
        ]
    );
    let as_it_is = format!("{{ size = 10, open = true, threshold = \"{threshold}\", opened_at = {} }}", now());
    assert!(fleet(&rollout("", &as_it_is), 30).load_over(&before).is_ok());
    let nobody = fleet(&rollout("", waves), 0).load().unwrap().fleet;
    assert_eq!(
        told(fleet(&rollout("", "{ size = 10, open = true, threshold = 7 }"), 30).load_over(&nobody)),
        ["fleet.toml:24:48: the wave is open, and has no threshold, which is frozen (R3, R7): leave it out"]
    );
    let gone = "fleet.toml:15:1: rollout `r` is under way and gone from the file: make its target the group's `firmware` to complete it, or \
                abort it by `aborted = { target = \"2.0.0\", fate = ... }` (R10, R11)";
    assert_eq!(over(String::new()), [gone]);
    assert_eq!(over(rollout("", waves).replace("\"r\"", "\"r2\"")), [gone]);
    let stated = fleet("", 0).with("fleet.toml", format!("revision = 1\n{HEAD}"));
    assert_eq!(
        told(stated.load_over(&before)),
        [
            "fleet.toml:1:12: `revision` 1 is not above 1, which is held: raise it, or leave it out (L2)".to_owned(),
            gone.replace(":15:", ":16:"),
        ]
    );

    // What is over leaves its mark on the group, whether the rollout is still written down or not.
    let over_state = |state: &str| over(rollout("", waves).replace("\"running\"", state));
    assert_eq!(
        over_state("\"completed\""),
        [
            "fleet.toml:21:9: `state` is `completed`, and the group's `firmware` is not `2.0.0`: set it, which is what completing does (R7)",
        ]
    );
    assert!(
        over_state("\"aborted\"").iter().any(|told| told.contains("`state` is `aborted`, and the group names no fate"))
    );
    let downgrade = "aborted = { target = \"2.0.0\", fate = \"downgrade\" }\n";
    let nothing_below = HEAD.replace("firmware = \"1.0.0\"", downgrade);
    assert_eq!(
        told(fleet("", 30).with("fleet.toml", nothing_below).load_over(&before)),
        ["fleet.toml:17:38: `fate`: `downgrade` needs a baseline that can be served (R10): name one as `firmware`"]
    );
    let completed = HEAD.replace("\nfirmware = \"1.0.0\"", "\nfirmware = \"2.0.0\"");
    let denied = completed.replace("version = \"2.0.0\"", "version = \"2.0.0\"\ndenied = true");
    assert_eq!(
        told(fleet("", 30).with("fleet.toml", denied).load_over(&before)),
        ["fleet.toml:18:12: `firmware`: rollout `r` cannot be completed: its target `2.0.0` is denied or missing (R7)"]
    );

    // Completed and aborted are said in the file.
    let completed = fleet("", 30);
    completed.write("fleet.toml", HEAD.replace("firmware = \"1.0.0\"", "firmware = \"2.0.0\""));
    assert!(completed.load_over(&before).is_ok());
    let aborted = fleet("aborted = { target = \"2.0.0\", fate = \"leave\" }\n", 30);
    let aborted_fleet = aborted.load_over(&before).unwrap().fleet;
    // R10: it lasts until the baseline changes.
    let text = std::fs::read_to_string(aborted.path()).unwrap();
    aborted.write("fleet.toml", text.replace("firmware = \"1.0.0\"", "firmware = \"2.0.0\""));
    assert_eq!(
        told(aborted.load_over(&aborted_fleet)),
        ["fleet.toml:18:11: `aborted` is over, since the group's `firmware` has changed (R10): leave it out"]
    );
}

/// Seen: a gate paused a rollout, the operator added a device to the file, and the rollout ran on.
#[test]
fn a_reload_ends_a_pause_only_where_it_says_so() {
    let waves = "{ size = 10, open = true }, { size = \"all\" }";
    let (runs, resumes) = (rollout("", waves), rollout("resume = true", waves));
    let over = |text: &str, held: &Fleet| {
        let loaded = fleet(text, 30).load_over(held).unwrap();
        let lints: Vec<_> = loaded.lints.iter().map(short).collect();
        (loaded.fleet, lints)
    };
    let state = |fleet: &Fleet| fleet.product("p").unwrap().group("g").unwrap().rollout().unwrap().state().clone();
    let running = fleet(&runs, 30).load().unwrap().fleet;
    let paused = over(&runs.replace("\"running\"", "\"cut\"\nwhy = \"3 failed\""), &running).0;
    let halted = RolloutState::Paused { cut: true, why: "3 failed".to_owned() };
    assert_eq!(state(&paused), halted);

    let at = "product `p`, group `g`: rollout `r`";
    let (kept, lints) = over(&runs, &paused);
    assert_eq!((state(&kept), opened(&kept, 0)), (halted.clone(), opened(&running, 0)));
    let stays = format!(
        "fleet.toml:21:9: {at} was paused (`3 failed`) and stays paused: to set it running, add `resume = true` for one load"
    );
    assert_eq!(lints, [stays.as_str()]);
    // However often it is loaded; and `resume = false` is no other word for it.
    assert_eq!(over(&rollout("resume = false", waves), &kept), (over(&runs, &kept).0, vec![stays]));

    let (resumed, lints) = over(&resumes, &kept);
    assert_eq!(state(&resumed), RolloutState::Running);
    assert_eq!(
        lints,
        [format!(
            "fleet.toml:23:10: {at} was paused (`3 failed`), and runs again by this file: take `resume` out, or it will end the next pause too"
        )]
    );
    // Nothing is paused: a running rollout, another rollout, a first load.
    let nothing = format!(
        "fleet.toml:23:10: {at} is not paused, and `resume` does nothing: take it out, or it will end the next pause"
    );
    assert_eq!(over(&resumes, &resumed).1, [nothing.as_str()]);
    let first: Vec<_> = fleet(&resumes, 30).load().unwrap().lints.iter().map(short).collect();
    assert_eq!(first, [nothing]);
    assert_eq!(
        told(fleet(&resumes.replace("\"running\"", "\"paused\""), 30).load_over(&kept)),
        ["fleet.toml:23:10: `resume` sets a paused rollout running: leave it out, or set `state = \"running\"`"]
    );
}

#[test]
fn what_moves_a_rollout_on_and_stops_it_is_read() {
    let keys = "admission = \"first-come\"\nsuccess = \"confirmed\"\nhalt = { failures = 3, failure_share = \"5 %\", min_finished = 20 }\n\
                missing = { offers = 2 }\npenalty = { secs = 60, secs_max = 90 }\ncomplete = { min_finished = 7, success_share = \"99.5 %\" }";
    let waves = "{ size = 10, open = true }, { size = 20, min_finished = 8, soak_secs = 3600 }, { size = \"all\" }";
    let text = format!("downloads_max = 4\n{}", rollout(keys, waves));
    let loaded = fleet(&text, 30).load().unwrap();
    let group = &loaded.fleet.spec().products[0].groups[0];
    let rollout = group.rollout.as_ref().unwrap();
    assert_eq!(
        (group.downloads_max, rollout.admission, rollout.success),
        (Some(4), Admission::FirstCome, Success::Confirmed)
    );
    assert_eq!(rollout.halt, Halt { failures: Some(3), failure_share_bps: Some(500), min_finished: Some(20) });
    assert_eq!(rollout.missing, Missing { offers: 2, ..Missing::default() });
    assert_eq!(rollout.penalty, Penalty { secs: 60, secs_max: 90 });
    let complete = Gate { min_finished: Some(7), success_share_bps: Some(9_950), ..Gate::default() };
    assert_eq!(rollout.complete, complete);
    assert_eq!(rollout.waves[1].gate, Gate { min_finished: Some(8), soak_secs: Some(3_600), ..Gate::default() });
    // Who comes first is in: nobody is counted.
    assert_eq!((opened(&loaded.fleet, 0).map(|opened| opened.counted), loaded.counted.len()), (Some(None), 0));
}

/// What happened while the fleet ran is in no file: waves that opened by themselves, what gates were found to be, what devices reported.
#[test]
fn a_reload_keeps_what_happened_since() {
    let waves = "{ size = 10 }, { size = \"all\", min_finished = 8, soak_secs = 60 }";
    let text = rollout("", waves);
    let mut held = fleet(&text, 30).load().unwrap().fleet;
    let (product, group) = (ProductId::new("p").unwrap(), GroupId::new("g").unwrap());
    let id = RolloutId::new("r").unwrap();
    let progress = Progress { wave: 0, offered: 9, finished: 8, succeeded: 8, good_since: Some(now()) };
    let opened_wave = held.product("p").unwrap().census("g", 0).unwrap().opened(now());
    held.apply(&[
        Change::OpenWave {
            product: product.clone(),
            group: group.clone(),
            rollout: id.clone(),
            wave: 0,
            opened: opened_wave,
        },
        Change::SetProgress {
            product: product.clone(),
            group: group.clone(),
            rollout: id.clone(),
            was: None,
            progress,
        },
        Change::SeeDevice {
            product: product.clone(),
            serial: "d7".into(),
            version: Some("1.0.0".into()),
            hardware: Some("b".into()),
        },
    ])
    .unwrap();
    let rollout_of = |fleet: &Fleet| fleet.spec().products[0].groups[0].rollout.clone().unwrap();
    let before = rollout_of(&held);
    let after = fleet(&text, 31).load_over(&held).unwrap().fleet;
    assert_eq!(rollout_of(&after), before, "and its edition is the same, since nothing about it changed");
    assert_eq!((device(&after, "d7").version(), device(&after, "d7").hardware()), (Some("1.0.0"), Some("b")));
    // An edit of a wave that is not open yet is a change: a conductor that looked before must look again.
    let edited = fleet(&text.replace("soak_secs = 60", "soak_secs = 90"), 30).load_over(&held).unwrap().fleet;
    assert_eq!(rollout_of(&edited).edition, before.edition + 1);
    assert_eq!(rollout_of(&edited).progress, Some(Progress { good_since: None, ..progress }), "and it soaks anew");

    // It halted itself, and the operator lets it go on: failures count anew, and what soaks soaks anew.
    let (why, cut) = ("halted: 3 failed of 5 that have finished".to_owned(), false);
    held.apply(&[Change::PauseRollout {
        product: product.clone(),
        group: group.clone(),
        rollout: id.clone(),
        cut,
        why,
    }])
    .unwrap();
    let kept = rollout_of(&fleet(&text, 30).load_over(&held).unwrap().fleet);
    assert_eq!((kept.state.clone(), kept.resumes), (rollout_of(&held).state, 0));
    let resumed = rollout_of(&fleet(&rollout("resume = true", waves), 30).load_over(&held).unwrap().fleet);
    assert_eq!((resumed.state, resumed.resumes), (RolloutState::Running, 1));
    assert_eq!(resumed.progress, Some(Progress { good_since: None, ..progress }));
    // What failed before that stays before it, however often the file is loaded.
    let twice = fleet(&rollout("resume = true", waves), 30).load_over(&held).unwrap().fleet;
    assert_eq!(rollout_of(&fleet(&text, 30).load_over(&twice).unwrap().fleet).resumes, 1);

    // It completed itself, and the file does not know.
    held.apply(&[Change::CompleteRollout { product, group, rollout: id }]).unwrap();
    assert_eq!(
        told(fleet(&text, 30).load_over(&held)),
        [
            "fleet.toml:21:9: `state`: `r` is completed, and what is over stays over (R7): give the group its target as `firmware`, and take the rollout out"
        ]
    );
    let done = HEAD.replace("\nfirmware = \"1.0.0\"", "\nfirmware = \"2.0.0\"");
    let folder = fleet("", 30);
    folder.write("fleet.toml", done);
    assert_eq!(folder.load_over(&held).unwrap().fleet.spec().products[0].groups[0].firmware.as_deref(), Some("2.0.0"));
}

/// R10: on a first load as on a reload, there must be something to take devices back to.
#[test]
fn a_downgrade_needs_a_baseline_that_can_be_served() {
    let down = "aborted = { target = \"2.0.0\", fate = \"downgrade\" }\n";
    let served = fleet(down, 3).load().unwrap().fleet;
    for (head, rest, why) in [
        (HEAD.replace("\nfirmware = \"1.0.0\"", ""), "", "name one as `firmware`"),
        (HEAD.replace("\nfirmware = \"1.0.0\"", "\nfirmware = \"1.5.0\""), "", "there is no firmware `1.5.0`"),
        (HEAD.replace("version = \"1.0.0\"", "version = \"1.0.0\"\ndenied = true"), "", "`1.0.0` is denied"),
        (HEAD.to_owned(), "cap = \"0.9.0\"\n", "`1.0.0` is above the group's cap `0.9.0`"),
    ] {
        let folder = fleet("", 3).with("fleet.toml", format!("{head}{rest}{down}"));
        for told in [told(folder.load()), told(folder.load_over(&served))] {
            let expected = format!("`fate`: `downgrade` needs a baseline that can be served (R10): {why}");
            assert!(told.len() == 1 && told[0].ends_with(&expected), "{told:?}");
        }
    }
    assert!(fleet(&format!("cap = \"1.0.0\"\n{down}"), 3).load_over(&served).is_ok());
    // The same version in another spelling is the same baseline, and `leave` goes on.
    let left = fleet(&down.replace("downgrade", "leave"), 3);
    let held = left.load().unwrap().fleet;
    let text = std::fs::read_to_string(left.path()).unwrap();
    left.write("fleet.toml", text.replace("\nfirmware = \"1.0.0\"", "\nfirmware = \"1.0.0+rebuilt\""));
    assert!(left.load_over(&held).is_ok());
}

#[test]
fn a_secret_in_the_place_of_its_hash_is_not_quoted() {
    let folder = fleet("", 0).with("fleet.toml", HEAD.replace("key = \"secret\"", "key_blake3 = \"s3cr3t\""));
    assert_eq!(
        told(folder.load()),
        ["fleet.toml:8:14: `key_blake3` must be 64 hex digits: a secret itself goes into `key`"]
    );
}

#[test]
fn a_version_in_a_row_is_as_long_as_anywhere() {
    let row = |len: usize| format!("serial,version\nx,{}\n", "1".repeat(len));
    let folder = fleet("", 0).with("d.csv", row(VERSION_BYTES_MAX));
    assert_eq!(device(&folder.load().unwrap().fleet, "x").version().map(str::len), Some(VERSION_BYTES_MAX));
    folder.write("d.csv", row(VERSION_BYTES_MAX + 1));
    assert!(told(folder.load())[0].starts_with("d.csv:2:3: version `1"));
    // Nothing written is nothing known.
    folder.write("d.csv", row(0));
    assert_eq!(device(&folder.load().unwrap().fleet, "x").version(), None);
}

/// Seen: lint warnings beyond the limit were left out in silence.
#[test]
fn beyond_the_limit_everything_is_counted() {
    let folder = fleet("", 0).with("d.csv", format!("serial,state\n{}", "x,y\r".repeat(100_000)));
    let LoadError::Problems(problems) = folder.load().unwrap_err() else { panic!() };
    // Each row has a state that is none, and all but the first have its serial.
    assert_eq!((problems.list().len(), problems.more()), (PROBLEMS_MAX, 199_999 - PROBLEMS_MAX));
    // The faults of a row on lines of their own are told in the order of the file, whatever the order of the columns.
    folder.write("d.csv", format!("state,hardware,serial\n{}", "\"\ny\",\"\nz\",\"\n\"\n".repeat(20_000)));
    let LoadError::Problems(problems) = folder.load().unwrap_err() else { panic!() };
    let places: Vec<_> = problems.iter().take(4).map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(2, 1), (3, 4), (4, 4), (6, 1)]);
    let rows: String = (0..1_500).fold("serial,group\n".to_owned(), |rows, n| rows + &format!("x{n},lost{n}\n"));
    folder.write("d.csv", rows);
    let lints = folder.load().unwrap().lints;
    assert_eq!((lints.list().len(), lints.more(), lints.is_empty()), (PROBLEMS_MAX, 500, false));
    assert!(lints.to_string().ends_with("\n... and 500 more"));
    let folder = Folder::new().with("fleet.toml", "[[product]]\n".repeat(20_000));
    let LoadError::Problems(problems) = folder.load().unwrap_err() else { panic!() };
    assert_eq!((problems.list().len(), problems.more()), (PROBLEMS_MAX, 20_000 - PROBLEMS_MAX));
}

/// Seen: after a reload, devices that had registered themselves were strangers again, and those moved to a group were late in it.
#[test]
fn a_reload_keeps_what_the_file_does_not_say() {
    let folder = fleet("[[product.group]]\nid = \"h\"\nfirmware = \"1.0.0\"\n", 2);
    let text = std::fs::read_to_string(folder.path()).unwrap();
    folder.write("fleet.toml", text.replace("devices =", "register_on_first_contact = true\ndevices ="));
    let mut held = folder.load().unwrap().fleet;
    let (product, at) = (ProductId::new("p").unwrap(), Timestamp::parse("2026-11-02T06:30:00Z").unwrap());
    let (serial, version) = ("d0".to_owned(), Some("1.0.0".to_owned()));
    held.apply(&[
        otagate::Change::Register { product: product.clone(), serial: "x1".into(), at },
        otagate::Change::Register { product: product.clone(), serial: "x2".into(), at },
        otagate::Change::SeeDevice { product: product.clone(), serial, version, hardware: Some("rev-a".into()) },
    ])
    .unwrap();
    let revision = held.revision();

    folder.write("d.csv", "serial,group,version\nd0,,\nd1,h,\nx1,,0.9.0\ny,,\n");
    let over = folder.load_over(&held).unwrap().fleet;
    assert_eq!(over.revision(), Revision(revision.0 + 1));
    assert_eq!((device(&over, "x2").state(), device(&over, "x2").entered_at()), (DeviceState::New, at));
    assert_eq!((device(&over, "x1").state(), device(&over, "x1").entered_at()), (DeviceState::Verified, at));
    assert_eq!(device(&over, "x1").version(), Some("0.9.0"));
    assert_eq!((device(&over, "d0").version(), device(&over, "d0").hardware()), (Some("1.0.0"), Some("rev-a")));
    let reload = now().plus_secs(3_600);
    assert_eq!(device(&over, "d0").entered_at(), Timestamp::from_millis(0));
    assert_eq!((device(&over, "d1").entered_at(), device(&over, "y").entered_at()), (reload, reload));
    // R4: who comes back keeps the first time.
    folder.write("d.csv", "serial,group,version\nd0,,\nd1,g,\n");
    let back = folder.load_over(&over).unwrap().fleet;
    assert_eq!(device(&back, "d1").group(), &GroupId::new("g").unwrap());
    assert_eq!(device(&back, "d1").entered_at(), Timestamp::from_millis(0));
    // Who is new stays whoever brought it, until the file names it otherwise or is all there is.
    folder.write("d.csv", "serial,group,version,state\nd0,,,\nd1,g,,\nx2,,,blocked\n");
    let blocked = folder.load_over(&back).unwrap().fleet;
    assert_eq!(device(&blocked, "x2").state(), DeviceState::Blocked);
    assert!(folder.load().unwrap().fleet.product("p").unwrap().device("y").is_none());
    folder.write("d.csv", "serial,group,version\nd0,,\nd1,g,\n");
    // Nothing changed, nothing counted: the same revision may be stated again.
    let stated = format!("revision = {}\n{}", back.revision().0, std::fs::read_to_string(folder.path()).unwrap());
    folder.write("fleet.toml", stated);
    assert_eq!(folder.load_over(&back).unwrap().fleet, back);
}

#[test]
fn no_path_leaves_its_folder() {
    for name in ["/etc/hostname", "../fleet.toml", "a/../../fleet.toml", "", ".", "..", "a\\u0000b"] {
        let folder = fleet(&format!("config = \"{name}\"\nresources = [{{ name = \"n\", file = \"{name}\" }}]\n"), 0);
        let told = told(folder.load());
        let (config, resource) = (&told[0], &told[1]);
        assert!(config.contains("leaves its folder") || config.contains("names no file"), "{config}");
        assert!(resource.contains("leaves its folder") || resource.contains("names no file"), "{resource}");
        assert_eq!(told.len(), 2);
        let text = HEAD.replace("d.csv", name);
        assert_eq!(Folder::new().with("fleet.toml", text).load().err().map(|_| ()), Some(()));
    }
    // One spelling for one file; folders inside are fine.
    let folder = fleet("resources = [{ name = \"n\", file = \"./sub//a.txt\" }]\n", 0);
    std::fs::create_dir(folder.0.join("firmware/sub")).unwrap();
    folder.write("firmware/sub/a.txt", "a");
    assert_eq!(folder.load().unwrap().files[2].locator, "sub/a.txt");
    // What is no file is neither waited for nor read without end.
    let folder = fleet("resources = [{ name = \"n\", file = \"sub\" }]\n", 0);
    std::fs::create_dir(folder.0.join("firmware/sub")).unwrap();
    assert!(told(folder.load())[0].ends_with("it is no regular file"));
}

#[test]
fn digests_are_those_of_the_standards() {
    let folder = Folder::new().with("abc", "abc").with("empty", "");
    let (size_bytes, digests) = digest_file(&folder.0.join("abc")).unwrap();
    assert_eq!(size_bytes, 3);
    assert_eq!(digests.md5, Hex::parse(b"900150983cd24fb0d6963f7d28e17f72"));
    let sha256 = b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digests.sha256, Hex::parse(sha256));
    let blake3 = b"6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    assert_eq!(digests.blake3, Hex::parse(blake3));
    let (size_bytes, digests) = digest_file(&folder.0.join("empty")).unwrap();
    assert_eq!((size_bytes, digests.md5), (0, Hex::parse(b"d41d8cd98f00b204e9800998ecf8427e")));
    assert!(digest_file(&folder.0).is_err());

    // Longer than what is read at a time.
    let long: Vec<u8> = (0..1_000_003u32).map(|n| (n % 251) as u8).collect();
    let folder = folder.with("long", &long);
    let (size_bytes, digests) = digest_file(&folder.0.join("long")).unwrap();
    assert_eq!(size_bytes, 1_000_003);
    assert_eq!(digests.blake3, Some(Hex(*blake3::hash(&long).as_bytes())));
    assert_eq!(digests.md5, Hex::parse(b"c767382bbc15b14aff5ccfad14bdd82e"));
}

#[test]
fn what_is_legal_and_not_meant_is_linted_apart() {
    let folder = fleet("[[product.group]]\nid = \"empty\"\n", 0);
    folder.write("d.csv", "group,serial\ng,1\nlost,2\n\nlost,3\n");
    let lints: Vec<_> = folder.load().unwrap().lints.iter().map(short).collect();
    assert_eq!(
        lints,
        [
            "d.csv:3:1: 2 device rows name group `lost`, which does not exist: they are answered 404",
            "fleet.toml:18:1: product `p`, group `empty`: has no firmware: its devices are answered 404 `nothing-assigned`",
        ]
    );
}

#[test]
fn rows_are_read_in_every_form_that_csv_has() {
    let rows = "\u{feff}version,serial,group,state\r\n\"1.0.0\",\"a,b\",g,new\r\n\r\n,\"say \"\"hi\"\"\",,blocked";
    let folder = fleet("", 0).with("d.csv", rows);
    let fleet = folder.load().unwrap().fleet;
    let states: Vec<_> =
        fleet.product("p").unwrap().devices().map(|device| (device.serial(), device.state())).collect();
    assert_eq!(states, [("a,b", DeviceState::New), ("say \"hi\"", DeviceState::Blocked)]);
    assert_eq!(fleet.product("p").unwrap().new_devices(), 1);

    for (rows, expected) in [
        ("", "d.csv:1:1: is empty: its first line names the columns, `serial` at least"),
        (
            "name\nx\n",
            "d.csv:1:1: unknown column `name`: there are `serial`, `state`, `group`, `entered_at`, `pin`, `cap`, `version`, `hardware`",
        ),
        ("serial,serial\nx,x\n", "d.csv:1:8: column `serial` stands twice"),
        ("serial,pin\nü,\"1.0.0\nx,\n", "d.csv:2:3: the quote that opens here is never closed"),
        (
            "serial,hardware\nx,a\tb\n",
            "d.csv:2:3: hardware `a\\tb` has a control character (CR, LF, NUL, tab or the like): remove it",
        ),
    ] {
        folder.write("d.csv", rows);
        assert!(told(folder.load()).iter().any(|told| told == expected), "{:?}", told(folder.load()));
    }
}

/// L3: the group's cap is known only from the fleet file, and the pin only from the row.
#[test]
fn a_pin_above_the_cap_of_its_group_is_refused_in_its_row() {
    let folder = fleet("cap = \"1.5.0\"\n", 0).with("d.csv", "serial,pin\na,1.0.0\nb,2.0.0\n");
    assert_eq!(
        told(folder.load()),
        ["d.csv:3:3: device `b` is pinned to `2.0.0`, above the cap `1.5.0` of its group `g`"]
    );
}

/// A file from a stranger: whatever is in it, an answer comes back, and soon.
#[test]
fn a_hostile_file_is_refused_and_no_more() {
    let deep = |open: &str, close: &str| format!("x = {}{}", open.repeat(200_000), close.repeat(200_000));
    let hostile: Vec<Vec<u8>> = vec![
        deep("[", "]").into(),
        deep("{ a = ", "}").into(),
        format!("[{}]", "a.".repeat(100_000)).into(),
        format!("revision = {}", "9".repeat(1_000_000)).into(),
        b"revision = 0x_\nfirmware_dir = 1e999999\n[[product]]\nid = nan".to_vec(),
        b"[[product]]\nid = \"a\0b\"\n".to_vec(),
        b"[[product]]\nid = \"\xff\xfe\"\n\xc3".to_vec(),
        b"\xff\xfe[\0[\0p\0r\0o\0".to_vec(),
        b"\"\"\"".to_vec(),
        "[[product]]\n".repeat(20_000).into(),
        format!("[[product]]\nid = \"{}\"\n", "x".repeat(1 << 20)).into(),
        format!("[[product]]\n{} = 1\n", "x".repeat(1 << 20)).into(),
        format!("{HEAD}{}", rollout("", "{ size = 4294967296 }, { size = \"9999999999999999999 %\" }")).into(),
        format!("{HEAD}{}", rollout("", &"{ size = \"all\", open = true }, ".repeat(5_000))).into(),
        vec![],
    ];
    for text in hostile {
        let folder = fleet("", 1).with("fleet.toml", &text);
        let refused = folder.load().err().map(|refused| refused.to_string());
        let refused =
            refused.unwrap_or_else(|| panic!("taken: {}", String::from_utf8_lossy(&text[..80.min(text.len())])));
        assert!(refused.len() < 1_000_000 && !refused.contains('\0'), "{}", refused.len());
    }
    let huge = "y".repeat(1 << 20);
    for rows in [
        b"serial\n\0\n".to_vec(),
        b"serial\n\xff\n".to_vec(),
        b"serial,group\nx,\xff\n".to_vec(),
        b"serial,pin\nx,\xff\n".to_vec(),
        b"\0\0\0".to_vec(),
        format!("serial\n{huge}\n").into(),
        format!("serial,entered_at\nx,{huge}\n").into(),
        format!("serial{}\n", ",x".repeat(100_000)).into(),
        "serial\nsame\n".repeat(20_000).into(),
        format!("serial\n\"{huge}").into(),
    ] {
        let folder = fleet("", 1).with("d.csv", &rows);
        let refused = folder.load().err().map(|refused| refused.to_string());
        let refused =
            refused.unwrap_or_else(|| panic!("taken: {}", String::from_utf8_lossy(&rows[..80.min(rows.len())])));
        assert!(refused.len() < 1_000_000 && !refused.contains('\0'), "{}", refused.len());
    }
    const { assert!(DEVICES_BYTES_MAX < u64::MAX) };
}

#[test]
fn a_fleet_file_that_is_not_there_is_no_problem_of_its_text() {
    let missing = Folder::new();
    let refused = missing.load().unwrap_err();
    assert!(matches!(&refused, LoadError::Io { path, .. } if *path == missing.path()), "{refused}");
    assert!(refused.to_string().starts_with("cannot read the fleet file `"));
    // That of the others is: they are named in it.
    let folder = Folder::new().with("fleet.toml", HEAD);
    let told = told(folder.load());
    assert_eq!(told.len(), 3);
    assert!(told[0].starts_with("fleet.toml:6:11: cannot read `") && told[0].contains("d.csv`: "), "{}", told[0]);
}

/// L3: one key proves one product; and twins are named even where the rest is wrong too.
#[test]
fn what_stands_twice_is_found_across_products() {
    let folder = fleet("", 0);
    folder.write(
        "fleet.toml",
        format!("{HEAD}[[product]]\nid = \"p\"\n[[product.key]]\nkey = \"secret\"\nrevoked = 1\n"),
    );
    assert_eq!(
        told(folder.load()),
        [
            "fleet.toml:19:6: product `p` stands twice",
            "fleet.toml:20:1: is a key of product `p` too: a key proves one product",
            "fleet.toml:22:11: `revoked` must be `true` or `false`, and is a whole number",
        ]
    );
}
