-- The fleet: what is meant. Whoever writes here by hand is followed too: triggers number every transaction that changes something, and note in the log
-- what it touched. `{s}` stands for the schema.

CREATE SCHEMA IF NOT EXISTS {s};

CREATE TABLE {s}.meta (
    one boolean PRIMARY KEY CHECK (one),
    schema integer NOT NULL,
    -- The newest revision. It only grows. Its row is locked from a transaction's first change to its end, so that revisions are committed in order.
    revision bigint NOT NULL,
    -- The transaction that made it: its later changes are of the same revision.
    xid bigint NOT NULL,
    -- The log knows all that came after this revision.
    log_from bigint NOT NULL
);
INSERT INTO {s}.meta VALUES (true, 1, 0, 0, 0);

CREATE TABLE {s}.product (
    id text COLLATE "C" PRIMARY KEY,
    -- An object: a product with its keys, each by its BLAKE3.
    document json NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    -- The revision that changed the product, its firmware or its groups last.
    edition bigint NOT NULL DEFAULT 0
);

-- Whose a key is. Kept by triggers, from the documents of products.
CREATE TABLE {s}.key (
    hash text COLLATE "C" PRIMARY KEY,
    product text COLLATE "C" NOT NULL REFERENCES {s}.product (id) ON DELETE CASCADE
);
CREATE INDEX key_product ON {s}.key (product);

CREATE TABLE {s}.firmware (
    product text COLLATE "C" NOT NULL REFERENCES {s}.product (id) ON DELETE CASCADE,
    version text COLLATE "C" NOT NULL,
    document json NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (product, version)
);

CREATE TABLE {s}.groups (
    product text COLLATE "C" NOT NULL REFERENCES {s}.product (id) ON DELETE CASCADE,
    id text COLLATE "C" NOT NULL,
    document json NOT NULL,
    revision bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (product, id)
);

CREATE TABLE {s}.device (
    product text COLLATE "C" NOT NULL REFERENCES {s}.product (id) ON DELETE CASCADE,
    -- Canonical.
    serial text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'new',
    group_id text COLLATE "C" NOT NULL,
    -- Milliseconds since 1970 (R4).
    entered_at bigint NOT NULL DEFAULT 0,
    pin text,
    cap text,
    version text,
    hardware text,
    -- An array of pairs: a group that it was in before, and when it entered that.
    earlier_groups json,
    PRIMARY KEY (product, serial)
);
CREATE INDEX device_group ON {s}.device (product, group_id);
CREATE INDEX device_new ON {s}.device (product) WHERE state = 'new';
CREATE INDEX device_pinned ON {s}.device (product, group_id) WHERE pin IS NOT NULL;

-- Which rows each revision touched; what stands in them is asked of the tables.
CREATE TABLE {s}.log (
    revision bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    product text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    PRIMARY KEY (revision, kind, product, name)
);

-- The ledger: what was offered to whom, and what became of it.

CREATE TABLE {s}.run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    rollout text COLLATE "C" NOT NULL,
    started_at bigint NOT NULL,
    UNIQUE (product, group_id, rollout, started_at)
);

CREATE TABLE {s}.attempt (
    run bigint NOT NULL REFERENCES {s}.run (id) ON DELETE CASCADE,
    serial text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    wave bigint NOT NULL,
    hop text NOT NULL,
    offers bigint NOT NULL,
    first_offered_at bigint NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    resumes bigint NOT NULL,
    claim_expires_at bigint NOT NULL,
    failed_hop text,
    failed_times bigint,
    failed_until bigint,
    waits_until bigint,
    PRIMARY KEY (run, serial)
);

-- How many devices stand where: what a conductor asks every second. In shards by serial, so that few wait for the same row.
CREATE TABLE {s}.count (
    run bigint NOT NULL REFERENCES {s}.run (id) ON DELETE CASCADE,
    wave bigint NOT NULL,
    resumes bigint NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    shard integer NOT NULL,
    devices bigint NOT NULL,
    PRIMARY KEY (run, shard, wave, resumes, outcome)
);

-- A group whose downloads are counted: its row is locked while a place is given.
CREATE TABLE {s}.downloads (
    product text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    -- When a place was given last.
    taken_at bigint NOT NULL,
    PRIMARY KEY (product, group_id)
);
CREATE TABLE {s}.place (
    product text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    serial text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (product, group_id, serial)
);
CREATE INDEX place_ends ON {s}.place (product, group_id, expires_at);

-- The revision of this transaction: a new one at its first change. Who listens is told when it is committed.
CREATE FUNCTION {s}.next_revision() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    SELECT revision INTO found FROM {s}.meta WHERE xid = txid_current();
    IF found IS NULL THEN
        UPDATE {s}.meta SET revision = revision + 1, xid = txid_current() RETURNING revision INTO found;
        PERFORM pg_notify('{s}', found::text);
    END IF;
    RETURN found;
END $$;

-- Writers come one after the other, before they lock a row: else two could wait for each other.
CREATE FUNCTION {s}.one_writer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM {s}.meta FOR UPDATE;
    RETURN NULL;
END $$;
CREATE TRIGGER one_writer BEFORE INSERT OR UPDATE OR DELETE ON {s}.product FOR EACH STATEMENT EXECUTE FUNCTION {s}.one_writer();
CREATE TRIGGER one_writer BEFORE INSERT OR UPDATE OR DELETE ON {s}.firmware FOR EACH STATEMENT EXECUTE FUNCTION {s}.one_writer();
CREATE TRIGGER one_writer BEFORE INSERT OR UPDATE OR DELETE ON {s}.groups FOR EACH STATEMENT EXECUTE FUNCTION {s}.one_writer();
CREATE TRIGGER one_writer BEFORE INSERT OR UPDATE OR DELETE ON {s}.device FOR EACH STATEMENT EXECUTE FUNCTION {s}.one_writer();

CREATE FUNCTION {s}.product_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.id <> OLD.id OR NEW.document::text <> OLD.document::text THEN
        NEW.revision := {s}.next_revision();
        NEW.edition := NEW.revision;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER product_number BEFORE INSERT OR UPDATE ON {s}.product FOR EACH ROW EXECUTE FUNCTION {s}.product_number();

CREATE FUNCTION {s}.product_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.revision = OLD.revision AND NEW.id = OLD.id AND NEW.document::text = OLD.document::text THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO {s}.log VALUES ({s}.next_revision(), 'product', OLD.id, OLD.id) ON CONFLICT DO NOTHING;
        DELETE FROM {s}.key WHERE product = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {s}.log VALUES (NEW.revision, 'product', NEW.id, NEW.id) ON CONFLICT DO NOTHING;
        INSERT INTO {s}.key
            SELECT DISTINCT lower(one ->> 'hash'), NEW.id FROM json_array_elements(coalesce(NEW.document -> 'keys', '[]')) AS one;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER product_log AFTER INSERT OR UPDATE OR DELETE ON {s}.product FOR EACH ROW EXECUTE FUNCTION {s}.product_log();

-- Firmware and groups: the row and its product are numbered.
CREATE FUNCTION {s}.part_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := {s}.next_revision();
    RETURN NEW;
END $$;
CREATE TRIGGER part_number BEFORE INSERT OR UPDATE ON {s}.firmware FOR EACH ROW EXECUTE FUNCTION {s}.part_number();
CREATE TRIGGER part_number BEFORE INSERT OR UPDATE ON {s}.groups FOR EACH ROW EXECUTE FUNCTION {s}.part_number();

CREATE FUNCTION {s}.firmware_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made bigint := {s}.next_revision();
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO {s}.log VALUES (made, 'firmware', OLD.product, OLD.version) ON CONFLICT DO NOTHING;
        UPDATE {s}.product SET edition = made WHERE id = OLD.product AND edition <> made;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {s}.log VALUES (made, 'firmware', NEW.product, NEW.version) ON CONFLICT DO NOTHING;
        UPDATE {s}.product SET edition = made WHERE id = NEW.product AND edition <> made;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER firmware_log AFTER INSERT OR UPDATE OR DELETE ON {s}.firmware FOR EACH ROW EXECUTE FUNCTION {s}.firmware_log();

CREATE FUNCTION {s}.group_log() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made bigint := {s}.next_revision();
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO {s}.log VALUES (made, 'group', OLD.product, OLD.id) ON CONFLICT DO NOTHING;
        UPDATE {s}.product SET edition = made WHERE id = OLD.product AND edition <> made;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO {s}.log VALUES (made, 'group', NEW.product, NEW.id) ON CONFLICT DO NOTHING;
        UPDATE {s}.product SET edition = made WHERE id = NEW.product AND edition <> made;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER group_log AFTER INSERT OR UPDATE OR DELETE ON {s}.groups FOR EACH ROW EXECUTE FUNCTION {s}.group_log();

-- Devices: a statement of many is noted at once.
CREATE FUNCTION {s}.device_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM touched) THEN
        INSERT INTO {s}.log SELECT {s}.next_revision(), 'device', product, serial FROM touched ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER device_log_put AFTER INSERT ON {s}.device
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION {s}.device_log();
CREATE TRIGGER device_log_gone AFTER DELETE ON {s}.device
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION {s}.device_log();
CREATE TRIGGER device_log_new AFTER UPDATE ON {s}.device
    REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION {s}.device_log();
CREATE TRIGGER device_log_old AFTER UPDATE ON {s}.device
    REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION {s}.device_log();

-- A table that is emptied at once has no rows to note: whoever follows loads anew.
CREATE FUNCTION {s}.emptied() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made bigint := {s}.next_revision();
BEGIN
    UPDATE {s}.meta SET log_from = made;
    UPDATE {s}.product SET edition = made;
    RETURN NULL;
END $$;
CREATE TRIGGER emptied AFTER TRUNCATE ON {s}.product FOR EACH STATEMENT EXECUTE FUNCTION {s}.emptied();
CREATE TRIGGER emptied AFTER TRUNCATE ON {s}.firmware FOR EACH STATEMENT EXECUTE FUNCTION {s}.emptied();
CREATE TRIGGER emptied AFTER TRUNCATE ON {s}.groups FOR EACH STATEMENT EXECUTE FUNCTION {s}.emptied();
CREATE TRIGGER emptied AFTER TRUNCATE ON {s}.device FOR EACH STATEMENT EXECUTE FUNCTION {s}.emptied();
