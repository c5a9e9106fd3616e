//! What the index of a gateway follows.

use super::session::{READ, Session, rows};
use super::{PostgresFault, PostgresStore, rows as table};
use crate::feed::{AsyncFeed, Changes, Loading, Patch};
use crate::fleet::{Revision, Row, RowKey, RowKind};
use crate::sql::PATCH_ROWS_MAX;
use futures_util::StreamExt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Config, Socket};

/// So many devices are checked at once.
const ROWS_AT_ONCE: usize = 4_096;
/// A connection that is lost is made again after so long, and twice as long each time, up to the second.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(2);
/// So many patches that no notice told of mean that it hears nothing.
const DEAF_AFTER: u64 = 5;

/// The feed of a PostgreSQL database, for one follower. It polls; [`listen`](Self::listen) has it woken.
#[derive(Debug)]
pub struct PostgresFeed {
    store: PostgresStore,
    connections: usize,
    news: Arc<News>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct News {
    bell: Notify,
    /// How many notices were heard, and how many patches were found since the last one.
    notices: AtomicU64,
    unheard: AtomicU64,
    connected: AtomicBool,
}

/// How a [`PostgresFeed`] hears of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// It polls.
    Polling,
    /// It is told, as long as its connection lives.
    Listening,
    /// It was to be told, and its connection is lost: it polls, and connects again.
    Reconnecting,
    /// It was to be told, and found change after change that nobody told of: most likely there is a pooler in between, in transaction mode. It polls.
    Deaf,
}

impl PostgresStore {
    /// A feed of this database, which loads by so many connections of the pool at once.
    pub fn feed(&self, connections: usize) -> PostgresFeed {
        PostgresFeed { store: self.clone(), connections: connections.max(1), news: Arc::default(), listener: None }
    }
}

impl PostgresFeed {
    /// Has the feed woken by NOTIFY, on a connection of its own, which is made again when it is lost. It has to go straight to the server: through a pooler in
    /// transaction mode nothing is heard, and [`hearing`](Self::hearing) says so. The poll interval remains the floor.
    ///
    /// Call it inside the runtime; it is a task there until the feed is dropped.
    #[must_use]
    pub fn listen<T>(mut self, config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + 'static,
        T::Stream: Send,
        T::TlsConnect: Send,
        <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
    {
        let (news, channel) = (self.news.clone(), self.store.shared.names.schema.clone());
        let task = tokio::spawn(async move {
            let mut pause = AGAIN_AFTER;
            loop {
                if listen_once(&config, tls.clone(), &channel, &news).await {
                    pause = AGAIN_AFTER;
                }
                news.connected.store(false, Ordering::Relaxed);
                // What was committed meanwhile nobody tells of.
                news.bell.notify_one();
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(AGAIN_AFTER_MAX);
            }
        });
        if let Some(before) = self.listener.replace(task) {
            before.abort();
        }
        self
    }

    /// How it hears of changes.
    pub fn hearing(&self) -> Hearing {
        match (&self.listener, self.news.connected.load(Ordering::Relaxed)) {
            (None, _) => Hearing::Polling,
            (Some(_), false) => Hearing::Reconnecting,
            (Some(_), true) if self.news.unheard.load(Ordering::Relaxed) >= DEAF_AFTER => Hearing::Deaf,
            (Some(_), true) => Hearing::Listening,
        }
    }
}

impl Drop for PostgresFeed {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// Listens for as long as the connection lives; whether it ever did.
async fn listen_once<T>(config: &Config, tls: T, channel: &str, news: &News) -> bool
where
    T: MakeTlsConnect<Socket>,
{
    let Ok((client, mut connection)) = config.connect(tls).await else { return false };
    let listen = format!("LISTEN {channel}");
    let mut asked = pin!(client.batch_execute(&listen));
    let mut listening = false;
    // One task for both: the answer to LISTEN comes by the connection.
    loop {
        let heard = poll_fn(|context| {
            if !listening && let std::task::Poll::Ready(answer) = asked.as_mut().poll(context) {
                match answer {
                    Ok(()) => {
                        listening = true;
                        news.connected.store(true, Ordering::Relaxed);
                        // What was committed before it listened.
                        news.bell.notify_one();
                    }
                    Err(_) => return std::task::Poll::Ready(None),
                }
            }
            connection.poll_message(context)
        });
        match heard.await {
            Some(Ok(AsyncMessage::Notification(_))) => {
                news.notices.fetch_add(1, Ordering::Relaxed);
                news.unheard.store(0, Ordering::Relaxed);
                news.bell.notify_one();
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return listening,
        }
    }
}

impl AsyncFeed for PostgresFeed {
    type Error = PostgresFault;

    async fn load(&mut self) -> Result<Loading, PostgresFault> {
        let names = &self.store.shared.names;
        let first = self.store.read().await?;
        let revision = table::revision(&first, names).await?;
        let loading = Loading::new(revision, table::few(&first, names, None).await?);
        let sql = "SELECT pg_export_snapshot(), (pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint)::bigint";
        let device = names.sql("{s}.device");
        let found = rows(&first, sql, &[(&device, Type::TEXT)]).await?;
        let (snapshot, pages): (String, i64) =
            found.first().map_or_else(Default::default, |row| (row.get(0), row.get(1)));
        // As many connections as are free: whoever waited for more would wait for a load that waits for this one.
        let mut sessions = vec![first];
        while sessions.len() < self.connections
            && let Some(session) = Session::begin_at_once(&self.store.shared.pool, READ).await?
        {
            session.batch_execute(&format!("SET TRANSACTION SNAPSHOT '{snapshot}'")).await?;
            sessions.push(session);
        }
        // Ranges of pages, each read by one connection, all of which see the same moment. The last one is open.
        let parts = sessions.len() as i64;
        let loading = Arc::new(loading);
        let mut tasks = tokio::task::JoinSet::new();
        for (at, session) in (0..).zip(sessions) {
            let to = (at + 1 < parts).then(|| (at + 1) * pages / parts);
            tasks.spawn(read_part(self.store.clone(), session, at * pages / parts, to, loading.clone()));
        }
        let mut done = Vec::new();
        while let Some(part) = tasks.join_next().await {
            // A part that panicked, which none does, or that was stopped along with the runtime.
            done.push(part.map_err(|fault| PostgresFault::Build(fault.to_string()))??);
        }
        Arc::into_inner(loading).ok_or_else(|| PostgresFault::Build("a load is still being read".to_owned()))
    }

    async fn changes(&mut self, after: Revision) -> Result<Changes, PostgresFault> {
        let names = &self.store.shared.names;
        let of_meta = names.sql("SELECT revision, log_from FROM {s}.meta");
        // Nearly always there is nothing: one round trip.
        {
            let client = self.store.shared.pool.get().await?;
            let found = rows(&client, &of_meta, &[]).await?;
            if found.first().is_some_and(|row| table::revision_of(row.get(0)) == after) {
                return Ok(Changes::None);
            }
        }
        let session = self.store.read().await?;
        let found = rows(&session, &of_meta, &[]).await?;
        let Some(row) = found.first() else {
            return Err(PostgresFault::Damaged { table: "meta", why: "it is empty".to_owned() });
        };
        let (revision, from) = (table::revision_of(row.get(0)), table::revision_of(row.get(1)));
        if revision == after {
            return Ok(Changes::None);
        }
        // It was set back, or forgot.
        if revision < after || after < from {
            return Ok(Changes::Unknown);
        }
        let stored = i64::try_from(after.0).unwrap_or(i64::MAX);
        let sql = "SELECT count(*) FROM (SELECT 1 FROM {s}.log WHERE revision > $1 LIMIT $2) touched";
        let most = PATCH_ROWS_MAX + 1;
        let count = rows(&session, &names.sql(sql), &[(&stored, Type::INT8), (&most, Type::INT8)]).await?;
        if count.first().is_some_and(|row| row.get::<_, i64>(0) > PATCH_ROWS_MAX) {
            return Ok(Changes::Unknown);
        }
        let few = names.sql(
            "WITH touched AS (SELECT DISTINCT kind, product, name FROM {s}.log WHERE revision > $1 AND kind <> 'device')
             SELECT t.kind, t.product, t.name, coalesce(p.revision, f.revision, g.revision, 0),
                 coalesce(p.document::text, f.document::text, g.document::text)
             FROM touched t
             LEFT JOIN {s}.product p ON t.kind = 'product' AND p.id = t.product
             LEFT JOIN {s}.firmware f ON t.kind = 'firmware' AND f.product = t.product AND f.version = t.name
             LEFT JOIN {s}.groups g ON t.kind = 'group' AND g.product = t.product AND g.id = t.name",
        );
        // OFFSET 0: by their keys one by one, however many the planner believes that there are.
        let devices = names.sql(&format!(
            "SELECT t.product, t.name, {} FROM (SELECT DISTINCT product, name FROM {{s}}.log WHERE revision > $1 AND kind = 'device') t
             LEFT JOIN LATERAL (SELECT * FROM {{s}}.device WHERE product = t.product AND serial = t.name OFFSET 0) d ON true",
            table::DEVICE
        ));
        let of = [(&stored as _, Type::INT8)];
        // Both are sent at once.
        let (few, devices) =
            futures_util::future::try_join(rows(&session, &few, &of), rows(&session, &devices, &of)).await?;
        let mut all = few.iter().map(table::document).collect::<Result<Vec<Row>, _>>()?;
        all.extend(devices.iter().map(|row| {
            let gone = || Row::gone(RowKey::new(RowKind::Device, row.get(0), row.get(1)));
            table::device(row, 2).unwrap_or_else(gone)
        }));
        self.news.unheard.fetch_add(1, Ordering::Relaxed);
        Ok(Changes::Patch(Patch { after, revision, rows: all }))
    }

    async fn wait(&mut self, up_to: Duration) {
        // A notice that came before it was waited for is not lost.
        let _ = tokio::time::timeout(up_to, self.news.bell.notified()).await;
    }
}

/// Reads the devices on some pages of the table into a load. The transaction that exported the moment goes last, so it is given back.
async fn read_part(
    store: PostgresStore,
    session: Session,
    from: i64,
    to: Option<i64>,
    loading: Arc<Loading>,
) -> Result<Session, PostgresFault> {
    let end = to.map_or_else(String::new, |to| format!(" AND d.ctid < '({to},0)'::tid"));
    let sql = format!("SELECT {} FROM {{s}}.device d WHERE d.ctid >= '({from},0)'::tid{end}", table::DEVICE);
    let none: [(String, Type); 0] = [];
    {
        let stream = session.query_typed_raw(&store.shared.names.sql(&sql), none).await?;
        let mut stream = pin!(stream.ready_chunks(ROWS_AT_ONCE));
        while let Some(some) = stream.next().await {
            let some = some.into_iter().collect::<Result<Vec<_>, _>>()?;
            loading.add(some.iter().filter_map(|row| table::device(row, 0)).collect());
        }
    }
    Ok(session)
}
