//! LMDB through `heed`: one read transaction and three gets for a check-in.
//!
//! Compared: keys, devices and rollout as three databases of one environment, read in one transaction, as a consistent answer needs. Unfair to us: values are raw bytes
//! made for this question and hold no artifact; versions are compared as text, the key in clear; the rank is stored, so a new rollout would rewrite every device; devices
//! have no product in their key; the files lie in the system's folder for temporary files and are wholly in memory. Unfair to it: it survives a restart, and
//! serves many processes.

use crate::question::{Ask, KEY, PRODUCT, TARGET, World};
use crate::{Quarter, Subject};
use heed::types::{Bytes, Str};
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};
use std::path::PathBuf;

pub(crate) struct Lmdb {
    env: Env,
    products: Database<'static, Str, Str>,
    /// Whether it is verified, and its rank in 8 bytes.
    devices: Database<'static, Str, Bytes>,
    /// By product: the threshold in 8 bytes, and the target's version.
    rollouts: Database<'static, Str, Bytes>,
    folder: PathBuf,
}

impl Lmdb {
    pub(crate) fn new(world: &World) -> Self {
        let folder = std::env::temp_dir().join(format!("otagate-peers-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut options = EnvOpenOptions::new();
        options.max_dbs(3).map_size(256 << 20);
        #[allow(unsafe_code, reason = "LMDB maps a file")]
        // SAFETY: the folder was made for this process and carries its number, so nobody else opens, cuts or writes the file while it is mapped.
        let env = unsafe { options.open(&folder) }.unwrap();

        let databases = env.create_databases_and_commit(env.write_txn().unwrap(), |open, write| {
            let products = open.create_database::<Str, Str>(write, Some("products"))?;
            let devices = open.create_database::<Str, Bytes>(write, Some("devices"))?;
            let rollouts = open.create_database::<Str, Bytes>(write, Some("rollouts"))?;
            heed::Result::Ok(CommitOrAbort::<_, ()>::Commit((products, devices, rollouts)))
        });
        let (products, devices, rollouts) = databases.unwrap().unwrap_commit();

        let mut write = env.write_txn().unwrap();
        products.put(&mut write, KEY, PRODUCT).unwrap();
        let rollout = [&world.threshold.to_le_bytes(), TARGET.as_bytes()].concat();
        rollouts.put(&mut write, PRODUCT, &rollout).unwrap();
        for device in &world.devices {
            let value = [&[u8::from(device.verified)][..], &device.rank.to_le_bytes()].concat();
            devices.put(&mut write, &device.serial, &value).unwrap();
        }
        write.commit().unwrap();
        Self { env, products, devices, rollouts, folder }
    }

    fn find(&self, ask: &Ask) -> Option<bool> {
        let read = self.env.read_txn().unwrap();
        let product = self.products.get(&read, ask.key).unwrap()?;
        let (verified, rank) = self.devices.get(&read, &ask.serial).unwrap()?.split_first()?;
        let (threshold, target) = self.rollouts.get(&read, product).unwrap()?.split_first_chunk()?;
        let (rank, threshold) = (u64::from_le_bytes(rank.try_into().ok()?), u64::from_le_bytes(*threshold));
        Some(*verified == 1 && ask.version.as_bytes() != target && rank <= threshold)
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // The map outlives the files' names; what cannot be removed, the system removes in time.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Subject for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn package(&self) -> Option<&'static str> {
        Some("heed")
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        self.find(ask).unwrap_or(false)
    }
}
