-- The fleet: what is meant. Whoever writes here by hand is followed too: triggers number every change and note it in the log.

CREATE TABLE otagate_meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    schema INTEGER NOT NULL,
    -- The newest revision. It only grows.
    revision INTEGER NOT NULL,
    -- 1 while a batch is written, which is one revision; else each row is one.
    batch INTEGER NOT NULL,
    -- The log knows all that came after this revision.
    log_from INTEGER NOT NULL
) STRICT;
INSERT INTO otagate_meta VALUES (1, 1, 0, 0, 0);

CREATE TABLE otagate_product (
    id TEXT NOT NULL PRIMARY KEY,
    -- A JSON object: a product with its keys, each by its BLAKE3.
    document TEXT NOT NULL CHECK (json_valid(document)),
    revision INTEGER NOT NULL DEFAULT 0,
    -- The revision that changed the product, its firmware or its groups last.
    edition INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Whose a key is. Kept by triggers, from the documents of products.
CREATE TABLE otagate_key (
    hash TEXT NOT NULL PRIMARY KEY,
    product TEXT NOT NULL REFERENCES otagate_product (id) ON DELETE CASCADE ON UPDATE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX otagate_key_product ON otagate_key (product);

CREATE TABLE otagate_firmware (
    product TEXT NOT NULL REFERENCES otagate_product (id) ON DELETE CASCADE,
    version TEXT NOT NULL,
    document TEXT NOT NULL CHECK (json_valid(document)),
    revision INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (product, version)
) STRICT;

CREATE TABLE otagate_group (
    product TEXT NOT NULL REFERENCES otagate_product (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    document TEXT NOT NULL CHECK (json_valid(document)),
    revision INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (product, id)
) STRICT;

CREATE TABLE otagate_device (
    product TEXT NOT NULL REFERENCES otagate_product (id) ON DELETE CASCADE,
    -- Canonical.
    serial TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'new',
    group_id TEXT NOT NULL,
    -- Milliseconds since 1970 (R4).
    entered_at INTEGER NOT NULL DEFAULT 0,
    pin TEXT,
    cap TEXT,
    version TEXT,
    hardware TEXT,
    -- A JSON array of pairs: a group that it was in before, and when it entered that.
    earlier_groups TEXT,
    PRIMARY KEY (product, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX otagate_device_group ON otagate_device (product, group_id);
CREATE INDEX otagate_device_new ON otagate_device (product) WHERE state = 'new';
CREATE INDEX otagate_device_pinned ON otagate_device (product, group_id) WHERE pin IS NOT NULL;

-- Which rows each revision touched; what stands in them is asked of the tables.
CREATE TABLE otagate_log (
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    product TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (revision, kind, product, name)
) STRICT, WITHOUT ROWID;

-- The ledger: what was offered to whom, and what became of it.

CREATE TABLE otagate_run (
    id INTEGER PRIMARY KEY,
    product TEXT NOT NULL,
    group_id TEXT NOT NULL,
    rollout TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    -- How many devices it was offered to: each has a slot.
    devices INTEGER NOT NULL DEFAULT 0,
    UNIQUE (product, group_id, rollout, started_at)
) STRICT;

CREATE TABLE otagate_attempt (
    run INTEGER NOT NULL REFERENCES otagate_run (id) ON DELETE CASCADE,
    serial TEXT NOT NULL,
    number INTEGER NOT NULL,
    wave INTEGER NOT NULL,
    hop TEXT NOT NULL,
    offers INTEGER NOT NULL,
    first_offered_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    resumes INTEGER NOT NULL,
    claim_expires_at INTEGER NOT NULL,
    failed_hop TEXT,
    failed_times INTEGER,
    failed_until INTEGER,
    waits_until INTEGER,
    PRIMARY KEY (run, serial)
) STRICT, WITHOUT ROWID;

-- How many devices stand where: what a conductor asks every second.
CREATE TABLE otagate_count (
    run INTEGER NOT NULL REFERENCES otagate_run (id) ON DELETE CASCADE,
    wave INTEGER NOT NULL,
    resumes INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    devices INTEGER NOT NULL,
    PRIMARY KEY (run, wave, resumes, outcome)
) STRICT, WITHOUT ROWID;

-- When a place among a group's downloads was given last.
CREATE TABLE otagate_downloads (
    product TEXT NOT NULL,
    group_id TEXT NOT NULL,
    taken_at INTEGER NOT NULL,
    PRIMARY KEY (product, group_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE otagate_place (
    product TEXT NOT NULL,
    group_id TEXT NOT NULL,
    serial TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (product, group_id, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX otagate_place_ends ON otagate_place (product, group_id, expires_at);

CREATE TRIGGER otagate_product_put AFTER INSERT ON otagate_product BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_product SET (revision, edition) = (SELECT revision, revision FROM otagate_meta) WHERE id = NEW.id;
    INSERT INTO otagate_log SELECT revision, 'product', NEW.id, NEW.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO otagate_key SELECT DISTINCT lower(value ->> '$.hash'), NEW.id FROM json_each(NEW.document, '$.keys');
END;
CREATE TRIGGER otagate_product_change AFTER UPDATE OF id, document ON otagate_product BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_product SET (revision, edition) = (SELECT revision, revision FROM otagate_meta) WHERE id = NEW.id;
    INSERT INTO otagate_log SELECT revision, 'product', OLD.id, OLD.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO otagate_log SELECT revision, 'product', NEW.id, NEW.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    DELETE FROM otagate_key WHERE product IN (OLD.id, NEW.id);
    INSERT INTO otagate_key SELECT DISTINCT lower(value ->> '$.hash'), NEW.id FROM json_each(NEW.document, '$.keys');
END;
CREATE TRIGGER otagate_product_drop AFTER DELETE ON otagate_product BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    INSERT INTO otagate_log SELECT revision, 'product', OLD.id, OLD.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    DELETE FROM otagate_key WHERE product = OLD.id;
END;

CREATE TRIGGER otagate_firmware_put AFTER INSERT ON otagate_firmware BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_firmware SET revision = (SELECT revision FROM otagate_meta) WHERE product = NEW.product AND version = NEW.version;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id = NEW.product;
    INSERT INTO otagate_log SELECT revision, 'firmware', NEW.product, NEW.version FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_firmware_change AFTER UPDATE OF product, version, document ON otagate_firmware BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_firmware SET revision = (SELECT revision FROM otagate_meta) WHERE product = NEW.product AND version = NEW.version;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id IN (OLD.product, NEW.product);
    INSERT INTO otagate_log SELECT revision, 'firmware', OLD.product, OLD.version FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO otagate_log SELECT revision, 'firmware', NEW.product, NEW.version FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_firmware_drop AFTER DELETE ON otagate_firmware BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id = OLD.product;
    INSERT INTO otagate_log SELECT revision, 'firmware', OLD.product, OLD.version FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER otagate_group_put AFTER INSERT ON otagate_group BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_group SET revision = (SELECT revision FROM otagate_meta) WHERE product = NEW.product AND id = NEW.id;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id = NEW.product;
    INSERT INTO otagate_log SELECT revision, 'group', NEW.product, NEW.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_group_change AFTER UPDATE OF product, id, document ON otagate_group BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_group SET revision = (SELECT revision FROM otagate_meta) WHERE product = NEW.product AND id = NEW.id;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id IN (OLD.product, NEW.product);
    INSERT INTO otagate_log SELECT revision, 'group', OLD.product, OLD.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO otagate_log SELECT revision, 'group', NEW.product, NEW.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_group_drop AFTER DELETE ON otagate_group BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    UPDATE otagate_product SET edition = (SELECT revision FROM otagate_meta) WHERE id = OLD.product;
    INSERT INTO otagate_log SELECT revision, 'group', OLD.product, OLD.id FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;

CREATE TRIGGER otagate_device_put AFTER INSERT ON otagate_device BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    INSERT INTO otagate_log SELECT revision, 'device', NEW.product, NEW.serial FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_device_change AFTER UPDATE ON otagate_device BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    INSERT INTO otagate_log SELECT revision, 'device', OLD.product, OLD.serial FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
    INSERT INTO otagate_log SELECT revision, 'device', NEW.product, NEW.serial FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER otagate_device_drop AFTER DELETE ON otagate_device BEGIN
    UPDATE otagate_meta SET revision = revision + 1 WHERE batch = 0;
    INSERT INTO otagate_log SELECT revision, 'device', OLD.product, OLD.serial FROM otagate_meta WHERE true ON CONFLICT DO NOTHING;
END;
