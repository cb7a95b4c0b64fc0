-- 0011_no_jit.sql - the gateway's statements are not compiled.
--
-- Tables that are still small or not yet analysed look costly to the planner (partitions, functions of unknown cost), which then
-- compiles a statement of 2 ms for 20 ms, in every push: measured, three quarters of the backend's time with 50 tablets writing.
-- Roles belong to the cluster; these two are Everward's own.

DO $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['everward_gateway', 'everward_admin'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles o ON o.oid = s.setrole
            WHERE o.rolname = r AND s.setdatabase = 0 AND 'jit=off' = ANY (s.setconfig));
        BEGIN
            EXECUTE format('ALTER ROLE %I SET jit = off', r);
        EXCEPTION WHEN unique_violation OR internal_error THEN
            NULL; -- another database of this cluster is being migrated at the same moment
        END;
    END LOOP;
END
$$;
