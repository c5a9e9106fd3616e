//! SQLite through `rusqlite`, bundled, in memory: one prepared statement over three primary keys.
//!
//! Compared: the statement, bound and stepped, with key, serial and version as text. Unfair to us: it gives one truth value and no artifact; versions are compared as
//! text, the key in clear; the rank is stored, as SQLite has no hash, so a new rollout would rewrite every device; one thread owns the connection, and no transaction is
//! opened around the statement. Unfair to it: it is a database, with transactions and a disk where one wants them.

use crate::question::{Ask, KEY, PRODUCT, TARGET, World};
use crate::{Quarter, Subject};
use rusqlite::{Connection, OptionalExtension as _, Statement};

pub(crate) struct Sqlite {
    statement: Statement<'static>,
}

impl Sqlite {
    pub(crate) fn new(world: &World) -> Self {
        // Leaked, so that a statement can be kept beside it: it is needed until the process ends.
        let connection: &'static mut Connection = Box::leak(Box::new(Connection::open_in_memory().unwrap()));
        let schema = "
            create table api_key (key text primary key, product text not null) without rowid;
            create table rollout (product text primary key, target text not null, threshold integer not null) without rowid;
            create table device (product text not null, serial text not null, verified integer not null, rank integer not null,
                primary key (product, serial)) without rowid;";
        connection.execute_batch(schema).unwrap();
        let filling = connection.transaction().unwrap();
        filling.execute("insert into api_key values (?, ?)", (KEY, PRODUCT)).unwrap();
        filling.execute("insert into rollout values (?, ?, ?)", (PRODUCT, TARGET, world.signed_threshold())).unwrap();
        {
            let mut insert = filling.prepare("insert into device values (?, ?, ?, ?)").unwrap();
            for device in &world.devices {
                insert.execute((PRODUCT, &device.serial, device.verified, device.signed_rank())).unwrap();
            }
        }
        filling.commit().unwrap();
        let query = "
            select device.verified and ?3 <> rollout.target and device.rank <= rollout.threshold
            from api_key join device using (product) join rollout using (product)
            where api_key.key = ?1 and device.serial = ?2";
        Self { statement: connection.prepare(query).unwrap() }
    }
}

impl Subject for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn package(&self) -> Option<&'static str> {
        Some("rusqlite")
    }

    fn quarter(&self) -> Quarter {
        Quarter::Ours
    }

    fn decide(&mut self, ask: &Ask) -> bool {
        let row = self.statement.query_row((ask.key, &ask.serial, ask.version), |row| row.get(0));
        row.optional().unwrap().unwrap_or(false)
    }
}
