//! The command `otagate`: what would a fleet be told, and how would a rollout go.
//!
//! ```text
//!   args ──▶ fleets: a file, JSON, SQLite, PostgreSQL ──▶ ask      decide, explain
//!                                                         simulate, preview, rank, lint: the library's own words, printed
//! ```
//!
//! No decision is made here, and nothing is written but what the command line names.

mod args;
mod ask;
mod failure;
mod fleets;
mod preview;
mod rank;
mod show;
mod simulate;

use anstream::{eprintln, println};
use args::{Cli, Colour, Command, Format};
use clap::{CommandFactory, Parser};
use failure::Failure;
use fleets::Source;
use otagate::Timestamp;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Well,
    /// A limit is passed, or there is something to warn of.
    Refused,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.color {
        Colour::Auto => {}
        Colour::Always => anstream::ColorChoice::Always.write_global(),
        Colour::Never => anstream::ColorChoice::Never.write_global(),
    }
    match run(&cli) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::Refused) => ExitCode::from(1),
        Err(Failure { what, next }) => {
            let (red, bold, end) = (show::RED, show::BOLD, show::END);
            eprintln!("{red}error:{end} {what}");
            if let Some(next) = next {
                eprintln!("{bold}next:{end} {next}");
            }
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> Result<Done, Failure> {
    match &cli.command {
        Command::Lint(args) => lint(args, cli.format),
        Command::Decide(args) => ask::decide(args, cli.format),
        Command::Explain(args) => ask::explain(args, cli.format),
        Command::Preview(args) => preview::run(args, cli.format),
        Command::Simulate(args) => simulate::run(args, cli.format),
        Command::Rank(args) => rank::run(args, cli.format),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "otagate", &mut std::io::stdout());
            Ok(Done::Well)
        }
        Command::Man { dir } => man(dir.as_deref()),
    }
}

fn lint(args: &args::Lint, format: Format) -> Result<Done, Failure> {
    let read = Source::of(&args.fleet)?.read(args.at.unwrap_or_else(now))?;
    match format {
        Format::Json => show::json(&read.warnings)?,
        Format::Text if read.warnings.is_empty() => println!("nothing to warn of"),
        Format::Text => read.warnings.iter().for_each(|line| println!("{}warning:{} {line}", show::YELLOW, show::END)),
    }
    Ok(if read.warnings.is_empty() { Done::Well } else { Done::Refused })
}

fn man(dir: Option<&Path>) -> Result<Done, Failure> {
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(|error| Failure::io(dir, error))?;
            clap_mangen::generate_to(Cli::command(), dir).map_err(|error| Failure::io(dir, error))?;
        }
        None => {
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut std::io::stdout()).map_err(Failure::of)?;
        }
    }
    Ok(Done::Well)
}

/// The only clock that is read, and only where the command line gives no time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// As many threads as there are processors.
pub(crate) fn threads(asked: Option<usize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1).max(1)
}
