//! `preview`: what a change would do, and whether it may.

use crate::args::{Format, Preview as Args, Reach};
use crate::failure::{Failure, hint};
use crate::fleets::Source;
use crate::simulate::progress_bar;
use crate::{Done, now, show, threads};
use anstream::{eprintln, print};
use otagate::preview::{Changed, Limits, Options, preview_with};
use otagate::{Change, Index};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn run(args: &Args, format: Format) -> Result<Done, Failure> {
    let at = args.at.unwrap_or_else(now);
    let before = Index::new(&Source::of(&args.before)?.read(at)?.fleet);
    let after = match (&args.after, &args.changes) {
        (Some(after), _) => Index::new(&Source::of(after)?.read(at)?.fleet),
        (None, Some(path)) => changed(&before, path)?,
        (None, None) => return Err(hint("there is nothing to compare with", "give a second fleet, or --changes FILE")),
    };
    let list = args.csv.as_deref().map(List::new).transpose()?;
    let whole = before.snapshot().devices_len().max(after.snapshot().devices_len()).max(1) as u64;
    let (bar, done) = (progress_bar(), AtomicU64::new(0));
    let progress = |more: u64| bar.set_position((done.fetch_add(more, Ordering::Relaxed) + more) * 1_000 / whole);
    let each = |changed: &Changed<'_>| list.iter().for_each(|list| list.add(changed));
    let preview = preview_with(
        &before,
        &after,
        &Options {
            now: at,
            threads: threads(args.threads),
            examples: args.examples,
            reach: match args.rollouts {
                Reach::AsIs => otagate::preview::Reach::AsIs,
                Reach::Due => otagate::preview::Reach::Due,
                Reach::Whole => otagate::preview::Reach::Whole,
            },
            progress: &progress,
            each: list.is_some().then_some(&each),
        },
    );
    bar.finish_and_clear();
    if let Some(list) = list {
        list.finish()?;
    }
    let limits = Limits {
        max_served: args.max_served,
        max_changed: args.max_changed,
        no_downgrades: args.no_downgrades,
        no_unreachable: args.no_unreachable,
        no_misfits: args.no_misfits,
    };
    let refusals = limits.check(&preview);
    match format {
        Format::Json => show::json(&serde_json::json!({ "preview": preview, "refusals": refusals }))?,
        Format::Text => print!("{preview}"),
    }
    for refusal in &refusals {
        eprintln!("{}refused:{} {refusal}", show::RED, show::END);
    }
    Ok(if refusals.is_empty() { Done::Well } else { Done::Refused })
}

/// A fork of the fleet with the changes of a file.
fn changed(before: &Index, path: &Path) -> Result<Index, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io(path, error))?;
    let changes: Vec<Change> = serde_json::from_str(&text).map_err(|error| {
        let next = r#"it must be a list of changes, such as [{"change": "assign-firmware", "product": "lamp", "group": "stable", "firmware": "2.0"}]"#;
        hint(format!("{}: {error}", path.display()), next)
    })?;
    let after = before.fork();
    after.apply(&changes).map_err(|problems| {
        hint(format!("{}: {problems}", path.display()), "the fleet refuses this; nothing would have been changed")
    })?;
    Ok(after)
}

/// Every device that is told something else, as CSV, in no order.
struct List {
    path: std::path::PathBuf,
    out: Mutex<(BufWriter<File>, Option<std::io::Error>)>,
}

impl List {
    fn new(path: &Path) -> Result<Self, Failure> {
        let mut out = BufWriter::new(File::create(path).map_err(|error| Failure::io(path, error))?);
        let head = "product,serial,group_before,group_after,version,before,serves_before,after,serves_after,downgrade,unreachable";
        writeln!(out, "{head}").map_err(|error| Failure::io(path, error))?;
        Ok(Self { path: path.to_owned(), out: Mutex::new((out, None)) })
    }

    fn add(&self, changed: &Changed<'_>) {
        let line = changed.line;
        let text = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
        let row = [
            cell(changed.product),
            cell(changed.serial),
            text(&line.group_before),
            text(&line.group_after),
            text(&line.version),
            format!("{} {}", line.before.status, line.before.reason),
            text(&line.before.serves),
            format!("{} {}", line.after.status, line.after.reason),
            text(&line.after.serves),
            line.downgrade.to_string(),
            line.unreachable.to_string(),
        ];
        let mut out = self.out.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if out.1.is_none() {
            out.1 = writeln!(out.0, "{}", row.join(",")).err();
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let (mut out, fault) = self.out.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let done = fault.map_or_else(|| out.flush(), Err);
        done.map_err(|error| Failure::io(&self.path, error))?;
        eprintln!("wrote {}", self.path.display());
        Ok(())
    }
}

/// A cell that no program takes for more than one, nor for a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@']);
    if text.contains([',', '"', '\n', '\r']) || formula {
        let quote = if formula { "'" } else { "" };
        return format!("\"{quote}{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
