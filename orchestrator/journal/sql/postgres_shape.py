"""The shape of the state in PostgreSQL: tables, and the function that appends. Made once, in a schema of its own."""

from __future__ import annotations

from typing import Any, LiteralString

VERSION = 1
HOLD = "epoch, sent_until, i.id, i.host, i.boot, i.pid, i.started, i.heartbeat, i.lease_for, i.ended"
"""What a `Hold` is made of, from `stream LEFT JOIN incarnation i ON i.id = holder`."""

TABLES: LiteralString = """
CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL);
CREATE SEQUENCE written;
CREATE TABLE run (num bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL UNIQUE, name text NOT NULL,
  made_at float8 NOT NULL, targets int NOT NULL, parent text, ended_at float8, exit_code int);
CREATE INDEX run_open ON run (num) WHERE ended_at IS NULL;
CREATE TABLE target (run bigint NOT NULL REFERENCES run ON DELETE CASCADE, place int NOT NULL, id text NOT NULL,
  account text NOT NULL, repo text NOT NULL, branch text, wave int NOT NULL, matrix text NOT NULL, request int,
  rest int, PRIMARY KEY (run, place));
CREATE TABLE part (run bigint NOT NULL REFERENCES run ON DELETE CASCADE, number int NOT NULL, body text NOT NULL,
  PRIMARY KEY (run, number));
CREATE TABLE incarnation (id text PRIMARY KEY, host text NOT NULL, boot text NOT NULL, pid bigint NOT NULL,
  started text NOT NULL, heartbeat float8 NOT NULL, lease_for float8 NOT NULL, ended bool NOT NULL DEFAULT false);
CREATE TABLE stream (num bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run bigint NOT NULL REFERENCES run ON DELETE CASCADE, account text NOT NULL, epoch bigint NOT NULL DEFAULT 0,
  last_seq int NOT NULL DEFAULT 0, holder text, sent_until float8, UNIQUE (run, account)) WITH (fillfactor = 50);
CREATE INDEX stream_holder ON stream (holder) WHERE holder IS NOT NULL;
CREATE TABLE event (stream bigint NOT NULL REFERENCES stream ON DELETE CASCADE, seq int NOT NULL, at float8 NOT NULL,
  kind text NOT NULL, target int, body text NOT NULL, PRIMARY KEY (stream, seq))
  WITH (autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE TABLE wish (run bigint NOT NULL REFERENCES run ON DELETE CASCADE, number int NOT NULL, kind text NOT NULL,
  body text NOT NULL, PRIMARY KEY (run, number));
CREATE TABLE past (target text PRIMARY KEY, outcomes text NOT NULL);
CREATE TABLE principal (num bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
  marker_proven bool NOT NULL DEFAULT false, alias text NOT NULL DEFAULT '');
CREATE TABLE frozen (principal bigint NOT NULL, scope text NOT NULL, until float8 NOT NULL,
  PRIMARY KEY (principal, scope));
CREATE TABLE stamp (num bigint PRIMARY KEY, at float8 NOT NULL, principal bigint NOT NULL, name text NOT NULL,
  scope text NOT NULL, per float8 NOT NULL, holder text NOT NULL);
CREATE INDEX stamp_scope ON stamp (principal, name, scope, at);
CREATE INDEX stamp_time ON stamp (at);

CREATE FUNCTION append(document json) RETURNS json LANGUAGE plpgsql AS $$
DECLARE refused json;
BEGIN
  -- in the order of numbers, so that two callers never wait for each other
  PERFORM 1 FROM stream WHERE num IN (SELECT (p->>'s')::bigint FROM json_array_elements(document->'p') p)
    ORDER BY num FOR NO KEY UPDATE;
  SELECT json_agg(json_build_array(number - 1, coalesce(s.epoch, 0), coalesce(s.last_seq, 0)))
    INTO refused
    FROM json_array_elements(document->'p') WITH ORDINALITY AS one (p, number)
    LEFT JOIN stream s ON s.num = (p->>'s')::bigint
    WHERE s.num IS NULL OR s.epoch <> (p->>'e')::bigint OR s.last_seq <> (p->>'f')::int - 1;
  IF refused IS NOT NULL THEN
    RETURN refused;
  END IF;
  INSERT INTO event (stream, seq, at, kind, target, body)
    SELECT s, q, at, k, t, b FROM json_to_recordset(document->'r')
      AS row (s bigint, q int, at float8, k text, t int, b text);
  UPDATE stream SET last_seq = (p->>'f')::int + (p->>'n')::int - 1
    FROM json_array_elements(document->'p') p WHERE num = (p->>'s')::bigint;
  UPDATE run SET ended_at = (p->>'ended')::float8, exit_code = (p->>'code')::int
    FROM json_array_elements(document->'p') p WHERE num = (p->>'run')::bigint AND p->>'ended' IS NOT NULL;
  PERFORM nextval('written');
  RETURN NULL;
END $$;
"""
APPEND: LiteralString = "SELECT append(%s::json)"


async def make(db: Any, schema: str) -> None:
    """Makes schema, tables and function, in the caller's transaction; whoever else makes them is waited for.

    Args:
        db: a cursor.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"{schema}.schema",))
    await db.execute("SELECT to_regclass(%s)", (f"{schema}.meta",))
    if (await db.fetchone())[0] is not None:
        return
    await db.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    await db.execute(f'SET LOCAL search_path = "{schema}"')
    await db.execute(TABLES)
    await db.execute("INSERT INTO meta (key, value) VALUES ('schema', %s)", (str(VERSION),))
