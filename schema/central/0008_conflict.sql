-- 0008_conflict.sql - conflicts are data, and sync like everything else.
--
-- A conflict names its row by table and id, without a foreign key: it outlives whatever happens to
-- that row.

SET LOCAL ROLE everward_owner;

CREATE TABLE everward.conflict (
    id             uuid NOT NULL,
    tenant_id      uuid NOT NULL,
    rev            bigint NOT NULL DEFAULT 1,
    site_id        uuid,
    table_name     text NOT NULL,
    row_id         uuid NOT NULL,
    columns        text NOT NULL,
    class          text,
    rule           text,
    base           json,
    live           json,
    incoming       json,
    base_rev       bigint,
    live_rev       bigint,
    live_by        uuid,
    live_at        everward.moment,
    live_node      uuid,
    incoming_by    uuid,
    incoming_at    everward.moment,
    incoming_node  uuid,
    incoming_clock text,
    decide_role    text,
    state          text NOT NULL CHECK (state IN ('open', 'resolved')),
    resolved_by    uuid,
    resolved_at    everward.moment,
    resolution_id  uuid,
    patient_id     uuid,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON everward.conflict (tenant_id, table_name, row_id);
CREATE INDEX conflict_open ON everward.conflict (tenant_id, patient_id) WHERE state = 'open';

CREATE TABLE everward.conflict_resolution (
    id           uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    rev          bigint NOT NULL DEFAULT 1,
    site_id      uuid,
    conflict_id  uuid NOT NULL,
    choice       text NOT NULL CHECK (choice IN ('live', 'incoming', 'base', 'other')),
    seen_rev     bigint,
    values       json,
    reason       text,
    effective_at everward.moment,
    recorded_at  everward.moment,
    recorded_by  uuid,
    performed_by uuid,
    device_id    text,
    clock_state  text,
    source       text DEFAULT 'live' CHECK (source IN ('live', 'back-entry', 'interface')),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON everward.conflict_resolution (tenant_id, conflict_id);

SELECT everward.isolate(r) FROM unnest(ARRAY['everward.conflict',
    'everward.conflict_resolution']::regclass[]) r;

GRANT SELECT, INSERT, UPDATE, DELETE ON everward.conflict, everward.conflict_resolution
    TO everward_app;

RESET ROLE;

SELECT everward.enable_sync('everward.conflict', 'central',
    '{"order": 50, "columns": {"patient_id": {"ref": "patient"}},
    "indexes": [["row_id"], ["state"]]}');
SELECT everward.enable_sync('everward.conflict_resolution', 'fact',
    '{"order": 51, "columns": {"conflict_id": {"ref": "conflict"}},
    "indexes": [["conflict_id"]]}');
