-- What the schema needs on PostgreSQL beside the tables and indexes, which are those of schema.sql (see
-- src/store/postgres_schema.rs).

-- Who leads, and how far the database is (src/store/db/postgres/lock.rs). Each transaction that writes changes the row, so
-- that one at a time is open, whichever process it is of.
CREATE TABLE leadership (
    one          integer PRIMARY KEY CHECK (one = 1),
    term         bigint NOT NULL,   -- rises whenever a process begins to lead
    leader       bigint NOT NULL,   -- the random number of the process that leads in it
    of_leader    bigint NOT NULL,   -- how many transactions that one has committed in it
    transactions bigint NOT NULL,   -- how many all processes have committed
    former_leader    bigint NOT NULL,   -- the process that led before
    former_of_leader bigint NOT NULL    -- how many of its transactions were known when this term began
);

-- Which process downloads and uploads the outputs of a job (src/store/db/postgres/claims.rs).
CREATE TABLE claims (
    job     bigint PRIMARY KEY REFERENCES jobs (nr) ON DELETE CASCADE,
    process bigint NOT NULL    -- the number that a process holds an advisory lock of while it is connected
);

-- By which a process finds the keys of a file that another one was ingesting.
CREATE INDEX keys_by_job ON keys (job);

-- The counts of jobs: what the triggers of schema.sql do.
CREATE FUNCTION recount_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    INSERT INTO job_counts VALUES (new.state, new.model, 1, coalesce(new.estimate_quota, 0))
    ON CONFLICT (state, model) DO UPDATE
    SET jobs = job_counts.jobs + 1, estimate_quota = job_counts.estimate_quota + excluded.estimate_quota;
    RETURN NULL;
END $$;
CREATE TRIGGER job_recounted AFTER UPDATE OF state, model, estimate_quota ON jobs FOR EACH ROW
WHEN (old.state <> new.state OR old.model <> new.model OR old.estimate_quota IS DISTINCT FROM new.estimate_quota)
EXECUTE FUNCTION recount_job();

CREATE FUNCTION uncount_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    DELETE FROM job_counts WHERE state = old.state AND model = old.model AND jobs = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER job_uncounted AFTER DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION uncount_job();

-- The search by words (src/store/search.rs): each must be in a text or in a label, in any case; one after `-` must not.
CREATE FUNCTION has_words(words text, name text, model text, id text, task text, prompt text, file text, labels text)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(bool_and((position(searched.text IN fields.text) > 0) <> searched.is_excluded), true)
    FROM (SELECT CASE WHEN word ~ '^-.' THEN substr(word, 2) ELSE word END AS text, word ~ '^-.' AS is_excluded
          FROM regexp_split_to_table(lower(words COLLATE "und-x-icu"), '\s+') AS word WHERE word <> '') AS searched,
         (SELECT lower(concat_ws(E'\n', name, model, id, task, prompt, file,
                                 (SELECT string_agg(key || '=' || value, E'\n') FROM json_each_text(labels::json)))
                       COLLATE "und-x-icu") AS text) AS fields
$$;

-- As in SQLite: the members of a JSON object, or the elements of an array.
CREATE FUNCTION json_each(document text) RETURNS TABLE (key text, value text) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM json_each_text(CASE json_typeof(document::json) WHEN 'object' THEN document::json ELSE '{}' END)
    UNION ALL
    SELECT (place - 1)::text, element
    FROM json_array_elements_text(CASE json_typeof(document::json) WHEN 'array' THEN document::json ELSE '[]' END)
         WITH ORDINALITY AS elements (element, place)
$$;
