//! What the command line says. The sentences are its manual.

use clap::{Args, Parser, Subcommand, ValueEnum};
use otagate::Timestamp;
use std::path::PathBuf;

const ABOUT: &str = "See what a fleet would be told, and how a rollout would go, before you dare it";

const LONG_ABOUT: &str = "\
See what a fleet would be told, and how a rollout would go, before you dare it.

Everything is decided by the code that decides in a gateway. Nothing is written anywhere but where you say so, and no fleet is changed.

A FLEET is one of
  fleet.toml             a fleet file, with its devices in CSV beside it
  fleet.json             a fleet's specification as JSON
  fleet.db, sqlite:PATH  a fleet in SQLite
  postgres://...         a fleet in PostgreSQL, by a connection string";

const AFTER_HELP: &str = "\
Exit codes: 0 done, and within the limits given; 1 done, and a limit is passed or there is something to warn of; 2 not done.

Examples:
  otagate lint fleet.toml
  otagate explain fleet.toml --product thermostat --serial A4:CF:12:34:56:78
  otagate preview fleet.db fleet.toml --max-served 300 --no-downgrades
  otagate simulate fleet.toml --plan careful.toml --plan bold.toml --seeds 50 --html rollout.html";

#[derive(Debug, Parser)]
#[command(name = "otagate", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs: one JSON document
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Warn of what is legal but surely not meant
    ///
    /// Reads a fleet and warns of groups without firmware, keys that have expired, gates that can never pass, waves larger than their group and the like. Exits with 1 if there
    /// is anything to warn of.
    Lint(Lint),
    /// Answer one check-in
    ///
    /// Decides a check-in as a gateway would, and prints the verdict. Claims and notes nothing.
    Decide(Ask),
    /// Answer one check-in, and say why
    ///
    /// Prints every question that is asked on the way, the values compared, and when the device would become eligible. With a database, what its ledger holds about the device is taken into account.
    Explain(Ask),
    /// Show who would be told something else
    ///
    /// Asks every device of two fleets, as it was last known, and says whose verdict changes: how many, in which groups, from what to what; who would go down in version, and who
    /// would get nothing any more. With limits it is a gate for reviews: it exits with 1 where a limit is passed.
    Preview(Preview),
    /// Run a rollout in virtual time
    ///
    /// Lets the devices of a fleet ask, download, install and fail for some virtual days, and a conductor open waves, halt and complete. The same seed gives the same run. With
    /// several plans it shows them side by side, with many seeds how far luck goes.
    Simulate(Simulate),
    /// Print devices by their place in a rollout
    ///
    /// A rank is a keyed hash of product and serial: the lowest ranks are first. With serials it prints their ranks; with a fleet it lists the members of a group in the order
    /// in which the rollout would reach them.
    Rank(Rank),
    /// Print completions for a shell
    ///
    /// For bash: otagate completions bash > ~/.local/share/bash-completion/completions/otagate
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual, or write a page for each command
    Man {
        /// Write otagate.1, otagate-simulate.1 and the others into this folder
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The fleet
    pub(crate) fleet: String,
    /// The moment by which keys are judged [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
}

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The fleet
    pub(crate) fleet: String,
    /// The device's serial, in any spelling of its product's scheme
    #[arg(long)]
    pub(crate) serial: String,
    /// The product, whose first valid key the device is taken to have; instead of a key
    #[arg(long, required_unless_present_any = ["key", "key_file"])]
    pub(crate) product: Option<String>,
    /// The API key. Other users of the machine may see it here: prefer --key-file
    #[arg(long, conflicts_with_all = ["product", "key_file"], env = "OTAGATE_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// A file with the API key; a line end behind it is passed over
    #[arg(long, value_name = "FILE", conflicts_with = "product")]
    pub(crate) key_file: Option<PathBuf>,
    /// The version that the device runs [default: the one it reported last]
    #[arg(long = "device-version", value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// The device's hardware [default: what it said last]
    #[arg(long)]
    pub(crate) hardware: Option<String>,
    /// The digest of the image that runs, such as blake3:9f86d0...; blake3, sha256 or md5
    #[arg(long, value_name = "KIND:HEX")]
    pub(crate) digest: Option<String>,
    /// What it asks for
    #[arg(long, value_enum, default_value_t = Wanted::Firmware)]
    pub(crate) want: Wanted,
    /// With --want resource: which one
    #[arg(long, value_name = "NAME", required_if_eq("want", "resource"))]
    pub(crate) resource: Option<String>,
    /// When it asks [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wanted {
    Firmware,
    Config,
    Resources,
    Resource,
}

#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// The fleet as it is
    pub(crate) before: String,
    /// The fleet as it would be
    #[arg(required_unless_present = "changes")]
    pub(crate) after: Option<String>,
    /// Or what would be done to it: a JSON list of changes
    #[arg(long, value_name = "FILE", conflicts_with = "after")]
    pub(crate) changes: Option<PathBuf>,
    /// The moment at which all devices ask [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
    /// How far the rollouts of the fleet as it would be have come
    #[arg(long, value_enum, default_value_t = Reach::Due)]
    pub(crate) rollouts: Reach,
    /// Refuse if more devices would newly be served something
    #[arg(long, value_name = "DEVICES", help_heading = "Limits")]
    pub(crate) max_served: Option<u64>,
    /// Refuse if more devices would be told something else
    #[arg(long, value_name = "DEVICES", help_heading = "Limits")]
    pub(crate) max_changed: Option<u64>,
    /// Refuse if any device would be served a version below its own
    #[arg(long, help_heading = "Limits")]
    pub(crate) no_downgrades: bool,
    /// Refuse if any device that gets an answer now would get 401 or 404
    #[arg(long, help_heading = "Limits")]
    pub(crate) no_unreachable: bool,
    /// Refuse if a group is meant a firmware that fits none of its devices
    #[arg(long, help_heading = "Limits")]
    pub(crate) no_misfits: bool,
    /// How many serials to show for each change
    #[arg(long, value_name = "DEVICES", default_value_t = 5)]
    pub(crate) examples: usize,
    /// Write every device that is told something else into a CSV file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) csv: Option<PathBuf>,
    /// How many threads [default: as many as there are processors]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reach {
    /// As the fleet says
    AsIs,
    /// As a gateway would have it a second later: a rollout that starts opens its first wave
    Due,
    /// As it ends if all goes well: every wave is open
    Whole,
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// The fleet
    pub(crate) fleet: String,
    /// A plan: `product`, `group`, `[rollout]` as in a fleet file, and `[[action]]`; may be given several times. Without one the rollouts that the fleet has go on
    #[arg(long = "plan", value_name = "FILE")]
    pub(crate) plans: Vec<PathBuf>,
    /// How devices ask, download, install and fail, in TOML; all has a default
    #[arg(long, value_name = "FILE", long_help = WORLD_HELP)]
    pub(crate) world: Option<PathBuf>,
    /// How many seeds to run; more show how far luck goes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) seeds: u32,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// When virtual time begins [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
    /// How long it lasts, in days, instead of what the world says
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_660))]
    pub(crate) days: Option<u64>,
    /// Refuse unless nine of ten runs harm at most so many devices
    #[arg(long, value_name = "DEVICES", help_heading = "Limits")]
    pub(crate) max_harmed: Option<u64>,
    /// Write a page with pictures
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// Write the pictures as SVG into this folder
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,
    /// How many threads [default: as many as there are processors]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

const WORLD_HELP: &str = "\
How devices ask, download, install and fail, in TOML; all has a default:

  lasts_secs = 1209600                 # two weeks
  tick_secs = 60                       # how often the conductor looks
  download_bytes_per_sec = 100000      # or { min = 2000, p50 = 80000, p95 = 400000, max = 2000000 }
  install_secs = 60                    # or quantiles
  asks_after_install = true
  check_in = { every_secs = 3600, jitter_secs = 0, first = \"scattered\", heeds_retry_after = false }
  offline = { devices_bps = 0, check_ins_bps = 0 }

  [[failures]]                         # in order; what is not named is any
  version = \"2.0\"                      # also: from, product, group, hardware
  share_bps = 200                      # 2 % of installations
  how = \"fails\"                        # fails, silent, dies, falls-back (with after_secs)

  [[joiners]]                          # devices that come meanwhile
  product = \"thermostat\"
  group = \"stable\"
  devices = 100
  from_secs = 0
  over_secs = 86400

  [[outages]]
  at_secs = 3600
  secs = 600";

#[derive(Debug, Args)]
pub(crate) struct Rank {
    /// The salt: the rollout's id, unless it was given another
    #[arg(long)]
    pub(crate) salt: String,
    /// The product
    #[arg(long)]
    pub(crate) product: String,
    /// The fleet whose group is listed
    #[arg(long, requires = "group", conflicts_with = "serials")]
    pub(crate) fleet: Option<String>,
    /// The group that is listed
    #[arg(long, requires = "fleet")]
    pub(crate) group: Option<String>,
    /// How many of the group, from the first on [default: all]
    #[arg(long, value_name = "DEVICES", requires = "fleet")]
    pub(crate) first: Option<usize>,
    /// Canonical serials
    #[arg(required_unless_present = "fleet")]
    pub(crate) serials: Vec<String>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "a time is written as 2026-11-24T08:00:00Z, always with its offset".to_owned())
}
