//! Rollouts that move in the file.

use super::{SqliteFault, SqliteStore, rows};
use crate::fleet::{
    Candidate, Census, CensusFault, CensusTaker, Change, Group, GroupId, Problems, ProductId, Revision, RowValue,
    Version,
};
use crate::rollout::{RolloutStore, UnderWay};
use crate::sql::Held;
use std::sync::Arc;

impl SqliteStore {
    /// Shows every device of the group to a taker, in one snapshot.
    fn count<R>(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
        asked: Option<&str>,
        end: impl FnOnce(CensusTaker<'_>) -> Result<R, CensusFault>,
    ) -> Result<Result<R, CensusFault>, SqliteFault> {
        let no_wave = || CensusFault::NoWave { group: group.id().as_str().to_owned(), wave };
        let reader = self.reader()?;
        reader.execute_batch("BEGIN")?;
        let Some(held) = self.held_product(&reader, product.as_str())? else { return Ok(Err(no_wave())) };
        let (Some(of), Some((found, catalogue))) = (held.product(), held.group(group.id().as_str())) else {
            return Ok(Err(no_wave()));
        };
        let mut taker = match CensusTaker::new(of, found, catalogue, wave) {
            Ok(taker) => taker,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(serial) = asked {
            taker = taker.asking_for(serial);
        }
        let mut statement = reader.prepare_cached(&rows::select_devices("WHERE product = ?1 AND group_id = ?2"))?;
        let mut members = statement.query([product.as_str(), group.id().as_str()])?;
        while let Some(row) = members.next()? {
            // A row that is kept out is nobody.
            let Some(RowValue::Device(spec)) = rows::device(row)?.value else { continue };
            let cap: Option<Version> = spec.cap.as_deref().and_then(|cap| of.versions().version(cap).ok());
            taker.look(&Candidate {
                serial: &spec.serial,
                state: spec.state,
                entered_at: spec.entered_at,
                version: spec.version.as_deref(),
                hardware: spec.hardware.as_deref(),
                pinned: spec.pin.is_some(),
                cap: cap.as_ref(),
            });
        }
        Ok(end(taker))
    }
}

fn under_way(held: &Held, product: &ProductId, group: &str) -> Option<UnderWay> {
    let (group, catalogue) = held.group(group)?;
    UnderWay::find(product, held.product()?, catalogue, group)
}

impl RolloutStore for SqliteStore {
    type Error = SqliteFault;

    fn under_way(&self) -> Result<Vec<UnderWay>, SqliteFault> {
        let reader = self.reader()?;
        reader.execute_batch("BEGIN")?;
        let sql =
            "SELECT product, id FROM otagate_group WHERE document ->> '$.rollout.state.is' IN ('running', 'paused')
            ORDER BY product, id";
        let mut statement = reader.prepare_cached(sql)?;
        let mut found = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = found.next()? {
            let (product, group): (String, String) = (row.get(0)?, row.get(1)?);
            let (Ok(id), Some(held)) = (ProductId::new(&product), self.held_product(&reader, &product)?) else {
                continue;
            };
            all.extend(under_way(&held, &id, &group));
        }
        Ok(all)
    }

    fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, SqliteFault> {
        let reader = self.reader()?;
        reader.execute_batch("BEGIN")?;
        let held: Option<Arc<Held>> = self.held_product(&reader, product.as_str())?;
        Ok(held.and_then(|held| under_way(&held, product, group.as_str())))
    }

    fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, SqliteFault> {
        self.count(product, group, wave, None, |taker| taker.finish())
    }

    fn place(&self, product: &ProductId, group: &Group, wave: usize, serial: &str) -> Result<Option<u64>, SqliteFault> {
        Ok(self.count(product, group, wave, Some(serial), |taker| Ok(taker.place()))?.ok().flatten())
    }

    fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, SqliteFault> {
        SqliteStore::apply(self, changes)
    }
}
