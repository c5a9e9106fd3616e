//! Rollouts that move in the database.

use super::session::rows;
use super::{PostgresFault, PostgresStore, rows as table};
use crate::fleet::{
    Candidate, Census, CensusFault, CensusTaker, Change, Group, GroupId, Problems, ProductId, Revision, RowValue,
    Version,
};
use crate::rollout::{AsyncRolloutStore, UnderWay};
use crate::sql::Held;
use futures_util::StreamExt;
use std::pin::pin;
use tokio_postgres::types::Type;

impl PostgresStore {
    /// Shows every device of the group to a taker, in one moment, a row at a time.
    async fn count<R>(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
        asked: Option<&str>,
        end: impl FnOnce(CensusTaker<'_>) -> Result<R, CensusFault> + Send,
    ) -> Result<Result<R, CensusFault>, PostgresFault> {
        let no_wave = || CensusFault::NoWave { group: group.id().as_str().to_owned(), wave };
        let session = self.read().await?;
        let Some(held) = self.held_product(&session, product.as_str()).await? else { return Ok(Err(no_wave())) };
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
        let sql = format!("SELECT {} FROM {{s}}.device d WHERE product = $1 AND group_id = $2", table::DEVICE);
        let of_group = [(product.as_str().to_owned(), Type::TEXT), (group.id().as_str().to_owned(), Type::TEXT)];
        let mut members = pin!(session.query_typed_raw(&self.shared.names.sql(&sql), of_group).await?);
        while let Some(row) = members.next().await {
            // A row that is kept out is nobody.
            let Some(RowValue::Device(spec)) = table::device(&row?, 0).and_then(|row| row.value) else { continue };
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

impl AsyncRolloutStore for PostgresStore {
    type Error = PostgresFault;

    async fn under_way(&self) -> Result<Vec<UnderWay>, PostgresFault> {
        let session = self.read().await?;
        let sql = "SELECT product, id FROM {s}.groups
            WHERE document -> 'rollout' -> 'state' ->> 'is' IN ('running', 'paused') ORDER BY product, id";
        let mut all = Vec::new();
        for row in rows(&session, &self.shared.names.sql(sql), &[]).await? {
            let (product, group): (&str, &str) = (row.get(0), row.get(1));
            let (Ok(id), Some(held)) = (ProductId::new(product), self.held_product(&session, product).await?) else {
                continue;
            };
            all.extend(under_way(&held, &id, group));
        }
        Ok(all)
    }

    async fn under_way_in(&self, product: &ProductId, group: &GroupId) -> Result<Option<UnderWay>, PostgresFault> {
        let session = self.read().await?;
        let held = self.held_product(&session, product.as_str()).await?;
        Ok(held.and_then(|held| under_way(&held, product, group.as_str())))
    }

    async fn census(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
    ) -> Result<Result<Census, CensusFault>, PostgresFault> {
        self.count(product, group, wave, None, |taker| taker.finish()).await
    }

    async fn place(
        &self,
        product: &ProductId,
        group: &Group,
        wave: usize,
        serial: &str,
    ) -> Result<Option<u64>, PostgresFault> {
        let place = self.count(product, group, wave, Some(serial), |taker| Ok(taker.place())).await?;
        Ok(place.ok().flatten())
    }

    async fn apply(&self, changes: &[Change]) -> Result<Result<Revision, Problems>, PostgresFault> {
        PostgresStore::apply(self, changes).await
    }
}
