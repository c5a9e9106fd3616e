//! Where fleets come from.

use crate::failure::{Failure, hint};
use otagate::postgres::PostgresStore;
use otagate::sqlite::SqliteStore;
use otagate::{Fleet, FleetSpec, Timestamp, fleet_file};
use std::path::{Path, PathBuf};

/// A fleet as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    File(PathBuf),
    Json(PathBuf),
    Sqlite(PathBuf),
    Postgres(String),
}

/// A fleet that was read, and what was warned of on the way.
pub(crate) struct Read {
    pub(crate) fleet: Fleet,
    pub(crate) warnings: Vec<String>,
}

impl Source {
    pub(crate) fn of(text: &str) -> Result<Self, Failure> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            return Ok(Self::Sqlite(path.into()));
        }
        let path = PathBuf::from(text);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::File(path)),
            Some("json") => Ok(Self::Json(path)),
            Some("db" | "sqlite" | "sqlite3") => Ok(Self::Sqlite(path)),
            _ => Err(hint(
                format!("`{}` is no fleet that can be told by its name", text.escape_debug()),
                "give a .toml or .json file, a .db or sqlite:PATH, or postgres://...",
            )),
        }
    }

    /// Reads the whole fleet. A database is only read, and one that is not there is not made.
    pub(crate) fn read(&self, now: Timestamp) -> Result<Read, Failure> {
        let (fleet, warnings) = match self {
            Self::File(path) => {
                let loaded = fleet_file::load(path, now).map_err(|error| file_fault(path, error))?;
                // Waves that this load counted are not warned of: nothing is kept of it.
                (loaded.fleet, loaded.lints.iter().map(ToString::to_string).collect())
            }
            Self::Json(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path, error))?;
                let spec: FleetSpec = serde_json::from_str(&text).map_err(|error| {
                    hint(
                        format!("{}: {error}", path.display()),
                        "it must be a fleet's specification: `products` with all that is theirs",
                    )
                })?;
                let fleet = spec.build().map_err(|problems| Failure::new(format!("{}: {problems}", path.display())))?;
                let lints = fleet.lint(now).iter().map(ToString::to_string).collect();
                (fleet, lints)
            }
            Self::Sqlite(path) => {
                let fleet = open(path)?.fleet().map_err(Failure::of)?;
                let lints = fleet.lint(now).iter().map(ToString::to_string).collect();
                (fleet, lints)
            }
            Self::Postgres(description) => {
                let fleet =
                    runtime()?.block_on(async { connect(description).await?.fleet().await.map_err(Failure::of) })?;
                let lints = fleet.lint(now).iter().map(ToString::to_string).collect();
                (fleet, lints)
            }
        };
        Ok(Read { fleet, warnings })
    }
}

fn file_fault(path: &Path, error: fleet_file::LoadError) -> Failure {
    match error {
        fleet_file::LoadError::Problems(problems) => Failure::new(problems.to_string()),
        other => hint(format!("{}: {}", path.display(), chain(&other)), "is the path right?"),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

pub(crate) fn open(path: &Path) -> Result<SqliteStore, Failure> {
    if !path.is_file() {
        return Err(hint(format!("{}: there is no such file", path.display()), "a gateway makes one with --db"));
    }
    SqliteStore::open(path).map_err(Failure::of)
}

pub(crate) async fn connect(description: &str) -> Result<PostgresStore, Failure> {
    PostgresStore::connect(description, 2).await.map_err(Failure::of)
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_told_by_its_name() {
        assert_eq!(Source::of("a/fleet.toml").unwrap(), Source::File("a/fleet.toml".into()));
        assert_eq!(Source::of("fleet.json").unwrap(), Source::Json("fleet.json".into()));
        assert_eq!(Source::of("fleet.db").unwrap(), Source::Sqlite("fleet.db".into()));
        assert_eq!(Source::of("sqlite:fleet").unwrap(), Source::Sqlite("fleet".into()));
        assert!(matches!(Source::of("postgres://a@b/c").unwrap(), Source::Postgres(_)));
        assert!(Source::of("fleet").is_err());
    }
}
