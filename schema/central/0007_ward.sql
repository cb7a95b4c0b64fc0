-- 0007_ward.sql - the reference hospital tables. Codes are FHIR R4's.
--
-- What every row has, and what every clinical row has, stands once, in two temporary tables that
-- the others are made like. A foreign key on a fact is a reason to refuse it, and costs 8 µs a row:
-- there are those that keep a row from floating free of its patient, and few others. Where one is
-- left out, the option "ref" says in the catalog what the column names. The two tables that a ward
-- fills all day, observation and medication_administration, have "must_exist" for their patient
-- instead.

SET LOCAL ROLE everward_owner;

-- Temporary tables cannot be made by a role without TEMP on the database; these two are ordinary
-- and dropped below.
CREATE TABLE ward.common (
    id        uuid NOT NULL,
    tenant_id uuid NOT NULL,
    rev       bigint NOT NULL DEFAULT 1,
    site_id   uuid
);

CREATE TABLE ward.clinical (
    effective_at everward.moment,
    recorded_at  everward.moment,
    recorded_by  uuid,
    performed_by uuid,
    device_id    text,
    clock_state  text,
    source       text DEFAULT 'live' CHECK (source IN ('live', 'back-entry', 'interface'))
);

CREATE TABLE ward.patient (
    LIKE ward.common INCLUDING DEFAULTS,
    family_name    text,
    given_names    text,
    birth_date     everward.moment,
    sex            text CHECK (sex IN ('male', 'female', 'other', 'unknown')),
    deceased       boolean,
    deceased_at    everward.moment,
    phone          text,
    email          text,
    address_line   text,
    city           text,
    state          text,
    postal_code    text,
    country        text,
    language       text,
    marital_status text,
    contact_name   text,
    contact_phone  text,
    isolation      text,
    privacy        boolean,
    active         boolean,
    note           text,
    PRIMARY KEY (tenant_id, id)
);

-- Not unique: the same number on two patients is a conflict for people, never a refusal.
CREATE TABLE ward.patient_identifier (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id uuid NOT NULL,
    system     text,
    value      text NOT NULL,
    type_code  text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.patient_identifier (tenant_id, patient_id);
CREATE INDEX ON ward.patient_identifier (tenant_id, value);

CREATE TABLE ward.patient_link (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id       uuid NOT NULL,
    other_patient_id uuid NOT NULL,
    action           text CHECK (action IN ('link', 'unlink')),
    reason           text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, other_patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.patient_link (tenant_id, patient_id);
CREATE INDEX ON ward.patient_link (tenant_id, other_patient_id);

CREATE TABLE ward.location (
    LIKE ward.common INCLUDING DEFAULTS,
    kind               text CHECK (kind IN ('site', 'ward', 'room', 'bed')),
    parent_id          uuid,
    name               text,
    code               text,
    operational_status text,
    active             boolean,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, parent_id) REFERENCES ward.location
);
CREATE INDEX ON ward.location (tenant_id, parent_id);

CREATE TABLE ward.staff (
    LIKE ward.common INCLUDING DEFAULTS,
    username       text,
    family_name    text,
    given_names    text,
    active         boolean,
    verifier       text,
    badge          text,
    valid_until_at everward.moment,
    revoked_at     everward.moment,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, username)
);

CREATE TABLE ward.staff_role (
    LIKE ward.common INCLUDING DEFAULTS,
    staff_id    uuid NOT NULL,
    role        text,
    location_id uuid,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, staff_id) REFERENCES ward.staff
);
CREATE INDEX ON ward.staff_role (tenant_id, staff_id);

CREATE TABLE ward.role_permission (
    LIKE ward.common INCLUDING DEFAULTS,
    role       text,
    table_name text,
    actions    text,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, role, table_name)
);

CREATE TABLE ward.encounter (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id   uuid NOT NULL,
    status       text CHECK (status IN ('planned', 'arrived', 'triaged', 'in-progress', 'onleave',
        'finished', 'cancelled',
                                        'entered-in-error', 'unknown')),
    class_code   text,
    type_code    text,
    type_display text,
    started_at   everward.moment,
    ended_at     everward.moment,
    location_id  uuid,
    reason_code  text,
    reason_text  text,
    attending_id uuid,
    code_status  text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.encounter (tenant_id, patient_id);

CREATE TABLE ward.bed_stay (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id   uuid NOT NULL,
    encounter_id uuid,
    location_id  uuid NOT NULL,
    started_at   everward.moment,
    ended_at     everward.moment,
    status       text CHECK (status IN ('planned', 'active', 'completed', 'entered-in-error')),
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.bed_stay (tenant_id, patient_id);
CREATE INDEX ON ward.bed_stay (tenant_id, encounter_id);
CREATE INDEX ON ward.bed_stay (tenant_id, location_id);

CREATE TABLE ward.observation (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id      uuid NOT NULL,
    encounter_id    uuid,
    status          text,
    category        text,
    code_system     text,
    code            text NOT NULL,
    display         text,
    value_decimal   numeric,
    value_unit      text,
    value_unit_code text,
    value_text      text,
    value_code      text,
    value_json      json,
    components      json,
    body_site       text,
    method          text,
    interpretation  text,
    corrects_id     uuid,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON ward.observation (tenant_id, patient_id);

CREATE TABLE ward.allergy (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id          uuid NOT NULL,
    kind                text CHECK (kind IN ('allergy', 'none-known')),
    clinical_status     text,
    verification_status text,
    type                text,
    category            text,
    criticality         text,
    code_system         text,
    code                text,
    display             text,
    reaction_text       text,
    onset_at            everward.moment,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.allergy (tenant_id, patient_id);

CREATE TABLE ward.condition (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id          uuid NOT NULL,
    encounter_id        uuid,
    clinical_status     text,
    verification_status text,
    category            text,
    code_system         text,
    code                text,
    display             text,
    onset_at            everward.moment,
    abated_at           everward.moment,
    note                text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.condition (tenant_id, patient_id);
CREATE INDEX ON ward.condition (tenant_id, encounter_id);

CREATE TABLE ward.medication_order (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id     uuid NOT NULL,
    encounter_id   uuid,
    status         text,
    intent         text,
    code_system    text,
    code           text,
    display        text,
    dose_quantity  numeric,
    dose_unit      text,
    route          text,
    frequency_text text,
    period_hours   numeric,
    start_at       everward.moment,
    end_at         everward.moment,
    as_needed      boolean,
    high_alert     boolean,
    requester_id   uuid,
    priority       text,
    reason_text    text,
    note           text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.medication_order (tenant_id, patient_id);
CREATE INDEX ON ward.medication_order (tenant_id, encounter_id);

CREATE TABLE ward.order_event (
    LIKE ward.common INCLUDING DEFAULTS,
    order_id   uuid NOT NULL,
    patient_id uuid NOT NULL,
    action     text CHECK (action IN ('activate', 'hold', 'resume', 'stop', 'complete')),
    reason     text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, order_id) REFERENCES ward.medication_order,
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.order_event (tenant_id, order_id);
CREATE INDEX ON ward.order_event (tenant_id, patient_id);

CREATE TABLE ward.dose_slot (
    LIKE ward.common INCLUDING DEFAULTS,
    order_id   uuid NOT NULL,
    patient_id uuid NOT NULL,
    due_at     everward.moment NOT NULL,
    number     integer,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, order_id) REFERENCES ward.medication_order,
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.dose_slot (tenant_id, order_id);
CREATE INDEX ON ward.dose_slot (tenant_id, patient_id);

-- A dose given is the most protected fact: its patient must exist, nothing else may refuse it.
CREATE TABLE ward.medication_administration (
    LIKE ward.common INCLUDING DEFAULTS,
    order_id      uuid,
    slot_id       uuid,
    patient_id    uuid NOT NULL,
    encounter_id  uuid,
    status        text CHECK (status IN ('completed', 'not-done', 'in-progress', 'on-hold',
        'stopped', 'entered-in-error', 'unknown')),
    code_system   text,
    code          text,
    display       text,
    dose_quantity numeric,
    dose_unit     text,
    route         text,
    reason_code   text,
    reason_text   text,
    witness_id    uuid,
    corrects_id   uuid,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON ward.medication_administration (tenant_id, patient_id);
CREATE INDEX ON ward.medication_administration (tenant_id, slot_id);

CREATE TABLE ward.note (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id     uuid NOT NULL,
    encounter_id   uuid,
    status         text CHECK (status IN ('draft', 'signed', 'entered-in-error')),
    kind           text,
    title          text,
    body           text,
    addendum_to_id uuid,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.note (tenant_id, patient_id);
CREATE INDEX ON ward.note (tenant_id, encounter_id);

CREATE TABLE ward.task (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id   uuid,
    encounter_id uuid,
    status       text,
    intent       text,
    priority     text,
    code         text,
    description  text,
    due_at       everward.moment,
    owner_id     uuid,
    location_id  uuid,
    note         text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.task (tenant_id, patient_id);
CREATE INDEX ON ward.task (tenant_id, encounter_id);

CREATE TABLE ward.appointment (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id      uuid,
    status          text,
    description     text,
    start_at        everward.moment,
    end_at          everward.moment,
    location_id     uuid,
    practitioner_id uuid,
    reason_text     text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.appointment (tenant_id, patient_id);
CREATE INDEX ON ward.appointment (tenant_id, location_id);

CREATE TABLE ward.lab_order (
    LIKE ward.common INCLUDING DEFAULTS,
    patient_id   uuid NOT NULL,
    encounter_id uuid,
    status       text,
    code_system  text,
    code         text,
    display      text,
    priority     text,
    requester_id uuid,
    ordered_at   everward.moment,
    note         text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.lab_order (tenant_id, patient_id);
CREATE INDEX ON ward.lab_order (tenant_id, encounter_id);

CREATE TABLE ward.specimen (
    LIKE ward.common INCLUDING DEFAULTS,
    lab_order_id uuid,
    patient_id   uuid NOT NULL,
    type_code    text,
    type_display text,
    collected_at everward.moment,
    collected_by uuid,
    identifier   text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.specimen (tenant_id, patient_id);
CREATE INDEX ON ward.specimen (tenant_id, lab_order_id);

CREATE TABLE ward.lab_result (
    LIKE ward.common INCLUDING DEFAULTS,
    lab_order_id uuid,
    patient_id   uuid NOT NULL,
    encounter_id uuid,
    status       text,
    code_system  text,
    code         text,
    display      text,
    conclusion   text,
    results      json,
    issued_at    everward.moment,
    version      integer,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient,
    FOREIGN KEY (tenant_id, encounter_id) REFERENCES ward.encounter
);
CREATE INDEX ON ward.lab_result (tenant_id, patient_id);
CREATE INDEX ON ward.lab_result (tenant_id, encounter_id);
CREATE INDEX ON ward.lab_result (tenant_id, lab_order_id);

CREATE TABLE ward.result_ack (
    LIKE ward.common INCLUDING DEFAULTS,
    lab_result_id uuid NOT NULL,
    patient_id    uuid NOT NULL,
    note          text,
    LIKE ward.clinical INCLUDING DEFAULTS INCLUDING CONSTRAINTS,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, patient_id) REFERENCES ward.patient
);
CREATE INDEX ON ward.result_ack (tenant_id, patient_id);
CREATE INDEX ON ward.result_ack (tenant_id, lab_result_id);

CREATE TABLE ward.audit_event (
    LIKE ward.common INCLUDING DEFAULTS,
    actor_id    uuid,
    action      text,
    table_name  text,
    row_id      uuid,
    patient_id  uuid,
    outcome     text,
    detail      text,
    occurred_at everward.moment,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON ward.audit_event (tenant_id, patient_id);

DROP TABLE ward.common, ward.clinical;

SELECT everward.isolate(c.oid) FROM pg_class c WHERE c.relnamespace = 'ward'::regnamespace
    AND c.relkind = 'r' ORDER BY c.relname;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ward TO everward_app;

GRANT SELECT ON ward.patient TO everward_definer; -- for must_exist

RESET ROLE;

SELECT everward.enable_sync('ward.role_permission', 'central', '{"order": 1}');
SELECT everward.enable_sync('ward.staff', 'central',
    '{"order": 2, "columns": {"verifier": {"api": "hidden"}, "badge": {"api": "hidden"}},
    "indexes": [["username"]]}');
SELECT everward.enable_sync('ward.staff_role', 'central',
    '{"order": 3, "columns": {"location_id": {"ref": "location"}}, "indexes": [["staff_id"]]}');
SELECT everward.enable_sync('ward.location', 'central', '{"order": 5, "indexes": [["parent_id"]]}');
SELECT everward.enable_sync('ward.patient', 'field', '{"order": 10,
    "groups": {"identity": {"columns": ["family_name", "given_names", "birth_date", "sex",
        "deceased", "deceased_at"], "class": "review"}},
    "indexes": [["family_name", "given_names"]]}');
SELECT everward.enable_sync('ward.patient_identifier', 'fact',
    '{"order": 11, "indexes": [["patient_id"], ["value"]]}');
SELECT everward.enable_sync('ward.patient_link', 'link',
    '{"order": 12, "indexes": [["patient_id"], ["other_patient_id"]]}');
SELECT everward.enable_sync('ward.encounter', 'field',
    '{"order": 15, "columns": {"status": {"class": "state"}, "code_status": {"class": "review"},
    "location_id": {"ref": "location"}, "attending_id": {"ref": "staff"}},
        "indexes": [["patient_id"], ["location_id"]]}');
SELECT everward.enable_sync('ward.bed_stay', 'claim',
    '{"order": 16, "columns": {"location_id": {"ref": "location"}},
    "indexes": [["patient_id"], ["location_id"]]}');
SELECT everward.enable_sync('ward.allergy', 'union', '{"order": 20, "indexes": [["patient_id"]]}');
SELECT everward.enable_sync('ward.condition', 'field',
    '{"order": 21, "columns": {"clinical_status": {"class": "review"},
    "verification_status": {"class": "review"}}, "indexes": [["patient_id"]]}');
SELECT everward.enable_sync('ward.medication_order', 'review',
    '{"order": 22, "columns": {"requester_id": {"ref": "staff"}},
    "groups": {"dose": {"columns": ["dose_quantity", "dose_unit", "route"], "class": "review"}},
        "indexes": [["patient_id"]]}');
SELECT everward.enable_sync('ward.order_event', 'fact',
    '{"order": 23, "indexes": [["order_id"], ["patient_id"]]}');
SELECT everward.enable_sync('ward.dose_slot', 'fact',
    '{"order": 24, "indexes": [["order_id"], ["patient_id", "due_at"]]}');
SELECT everward.enable_sync('ward.medication_administration', 'fact',
    '{"order": 25, "columns": {"patient_id": {"ref": "patient", "must_exist": true}, "order_id": {"ref": "medication_order"},
    "slot_id": {"ref": "dose_slot"}, "encounter_id": {"ref": "encounter"},
        "witness_id": {"ref": "staff"},
    "corrects_id": {"ref": "medication_administration"}}, "indexes": [["patient_id",
        "effective_at"], ["slot_id"], ["order_id"]]}');
SELECT everward.enable_sync('ward.note', 'review',
    '{"order": 30, "columns": {"addendum_to_id": {"ref": "note"}}, "indexes": [["patient_id"]]}');
SELECT everward.enable_sync('ward.task', 'field',
    '{"order": 31, "deletable": true, "columns": {"status": {"class": "state"},
    "owner_id": {"ref": "staff"}, "location_id": {"ref": "location"}}, "indexes": [["patient_id"],
        ["due_at"]]}');
SELECT everward.enable_sync('ward.appointment', 'claim',
    '{"order": 32, "deletable": true, "columns": {"location_id": {"ref": "location"},
    "practitioner_id": {"ref": "staff"}}, "indexes": [["patient_id"], ["start_at"]]}');
SELECT everward.enable_sync('ward.lab_order', 'field',
    '{"order": 33, "columns": {"status": {"class": "state"}, "requester_id": {"ref": "staff"}},
    "indexes": [["patient_id"]]}');
SELECT everward.enable_sync('ward.specimen', 'fact',
    '{"order": 34, "columns": {"lab_order_id": {"ref": "lab_order"},
    "collected_by": {"ref": "staff"}}, "indexes": [["patient_id"], ["lab_order_id"]]}');
SELECT everward.enable_sync('ward.lab_result', 'central',
    '{"order": 35, "columns": {"lab_order_id": {"ref": "lab_order"}},
    "indexes": [["patient_id"], ["lab_order_id"]]}');
SELECT everward.enable_sync('ward.result_ack', 'fact',
    '{"order": 36, "columns": {"lab_result_id": {"ref": "lab_result"}},
    "indexes": [["patient_id"], ["lab_result_id"]]}');
SELECT everward.enable_sync('ward.observation', 'fact',
    '{"order": 40, "columns": {"patient_id": {"ref": "patient", "must_exist": true}, "encounter_id": {"ref": "encounter"},
    "corrects_id": {"ref": "observation"}}, "indexes": [["patient_id", "effective_at"]]}');
SELECT everward.enable_sync('ward.audit_event', 'fact', '{"order": 90, "push_only": true}');
