-- 0020_merge.sql - which values are safer than others.
--
-- A column's "dominance" lists values, the safest first; what is not in it is the least safe. Of two concurrent changes of a column of
-- class state the safer one stands, and both people are told; under review and union the safer one is live until a person chooses.
-- The decision is sync/core/merge.c's; this only says what "safer" means for a hospital: what was done outranks what was meant, a stop
-- outranks a hold, a hold outranks going on, and an active allergy outranks one that is over.

SET LOCAL ROLE everward_owner;

CREATE OR REPLACE FUNCTION everward.catalog() RETURNS json
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT json_build_object(
        'format', 'everward-catalog/1',
        'version', (SELECT version FROM everward.catalog_state),
        'tables', coalesce((
            SELECT json_agg(json_build_object(
                'tbl', s.tbl, 'name', s.name, 'class', s.class, 'deletable', s.deletable,
                    'push_only', s.push_only,
                'order', s.bootstrap_order,
                'columns', coalesce((
                    SELECT json_agg(CASE WHEN k.dropped_version IS NULL THEN json_build_object(
                        'ord', k.ord, 'name', k.name, 'type', k.type, 'null', k.nullable, 'class',
                            k.class, 'group', k.grp,
                        'api', k.api, 'allowed', to_json(k.allowed), 'ref', k.ref_table,
                        'dominance', s.options->'columns'->k.name->'dominance')
                    ELSE json_build_object(
                        'ord', k.ord, 'name', 'dropped_' || k.ord, 'type', 'text', 'null', true,
                            'class', NULL, 'group', NULL,
                        'api', 'hidden', 'allowed', NULL, 'ref', NULL)
                    END ORDER BY k.ord)
                    FROM everward.sync_column k WHERE k.tbl = s.tbl), '[]'),
                'indexes', coalesce(s.options->'indexes', '[]')) ORDER BY s.bootstrap_order, s.tbl)
            FROM everward.sync_table s WHERE s.enabled), '[]'))
$$;

UPDATE everward.sync_table s SET options = jsonb_set(s.options, '{columns}', coalesce(s.options->'columns', '{}')
    || jsonb_build_object(d.col, coalesce(s.options->'columns'->d.col, '{}') || jsonb_build_object('dominance', to_jsonb(d.list))))
FROM (VALUES
    ('task', 'status', ARRAY['completed', 'failed', 'cancelled', 'rejected', 'on-hold', 'in-progress', 'accepted', 'received', 'ready', 'requested',
        'draft']),
    ('encounter', 'status', ARRAY['finished', 'cancelled', 'in-progress', 'onleave', 'triaged', 'arrived', 'planned']),
    ('lab_order', 'status', ARRAY['completed', 'revoked', 'on-hold', 'active', 'draft']),
    ('medication_order', 'status', ARRAY['stopped', 'cancelled', 'completed', 'on-hold', 'active', 'draft']),
    ('allergy', 'clinical_status', ARRAY['active', 'inactive', 'resolved'])) AS d (tab, col, list)
WHERE s.schema_name = 'ward' AND s.table_name = d.tab;

UPDATE everward.sync_table s SET options = jsonb_set(s.options, '{columns,verification_status}',
    '{"dominance": ["confirmed", "presumed", "unconfirmed"]}') WHERE s.schema_name = 'ward' AND s.table_name = 'allergy';

SELECT everward.bump_catalog();

-- A resume ends the hold that it names, and no other: who had not seen the hold cannot name it.
ALTER TABLE ward.order_event ADD COLUMN undoes_id uuid;

RESET ROLE;

SELECT everward.refresh_sync('ward.order_event');
