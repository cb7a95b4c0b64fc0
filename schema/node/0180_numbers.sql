-- 0180_numbers.sql - blocks of record numbers that the centre has leased to this node (node/store/numbers.h).

-- next > last: used up. A block belongs to the life it was leased in; in another one no number is taken from it.
CREATE TABLE node_number_block (
    incarnation INTEGER NOT NULL,
    block       INTEGER NOT NULL,
    system      TEXT NOT NULL,
    prefix      TEXT NOT NULL,
    digits      INTEGER NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    next        INTEGER NOT NULL,
    PRIMARY KEY (incarnation, block)
) WITHOUT ROWID;

-- How many were taken on which day (UTC, since 1970): what four weeks need.
CREATE TABLE node_number_day (
    day   INTEGER PRIMARY KEY,
    taken INTEGER NOT NULL
);

-- Patients who were written while there was no number; they get theirs with the next block.
CREATE TABLE node_number_owed (
    patient_id BLOB PRIMARY KEY
) WITHOUT ROWID;
