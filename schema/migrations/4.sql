-- Version 4: the words of docs/glossary.md, and the base names of job files. `jobs` is built anew because its CHECK lists
-- the actions, `intakes` becomes `batches`; foreign keys are off meanwhile (src/store/schema.rs).
CREATE TABLE jobs_4 (
    nr                   INTEGER PRIMARY KEY,
    id                   TEXT NOT NULL UNIQUE,
    batch                INTEGER NOT NULL REFERENCES batches (nr),
    name                 TEXT NOT NULL,
    model                TEXT NOT NULL,
    priority             INTEGER NOT NULL,
    estimate_quota       INTEGER,
    max_cost_quota       INTEGER,
    adopted              INTEGER NOT NULL,
    created_at           INTEGER NOT NULL,
    turn                 TEXT NOT NULL,
    state                TEXT NOT NULL CHECK (state = 'pending' OR state = 'submitting' OR state = 'queued'
                                                 OR state = 'processing' OR state = 'downloading' OR state = 'succeeded'
                                                 OR state = 'failed' OR state = 'cancelled' OR state = 'expired'
                                                 OR state = 'held'),
    reason               TEXT,
    reason_detail        TEXT,
    held_from            TEXT,
    status_message       TEXT,
    next_action          TEXT CHECK (next_action = 'submit' OR next_action = 'resend' OR next_action = 'resend_failing'
                                        OR next_action = 'poll' OR next_action = 'poll_failing'
                                        OR next_action = 'cancel' OR next_action = 'wait'
                                        OR next_action = 'check_pictures'),
    next_action_at       INTEGER,
    download_at          INTEGER,
    download_failing     INTEGER,
    upload_at            INTEGER,
    due_at               INTEGER,
    tries                INTEGER,
    state_since          INTEGER,
    failing_since        INTEGER,
    attempts             INTEGER NOT NULL,
    pending_attempt_number          INTEGER,
    pending_attempt_created_at      INTEGER,
    pending_attempt_outcome_unknown INTEGER,
    task_id              TEXT,
    polled_at            INTEGER,
    callback_at          INTEGER,
    cancel_requested     INTEGER NOT NULL,
    expiry_alerted       INTEGER NOT NULL,
    unattended_entries   INTEGER NOT NULL,
    settlement_at        INTEGER,
    settlement_tries     INTEGER NOT NULL,
    budget_wait_quota    INTEGER,
    checks_waived        INTEGER NOT NULL,
    unlisted_allowed     INTEGER NOT NULL,
    pictures_checked     INTEGER,
    progress             INTEGER NOT NULL,
    reserved_quota       INTEGER,
    cost_quota           INTEGER,
    submitted_at         INTEGER,
    completed_at         INTEGER,
    finished_at          INTEGER,
    expires_at           INTEGER,
    moved_at             INTEGER,
    dismissed_at         INTEGER,
    error_code           TEXT,
    error_message        TEXT,
    rating               INTEGER,
    last_change          INTEGER NOT NULL
) STRICT;
INSERT INTO jobs_4
SELECT
    nr, id, intake, name, model, priority, NULL, NULL, 0, created_at, '', state,
    CASE reason WHEN 'slow' THEN 'timed_out' WHEN 'clock_doubted' THEN 'outcome_unknown'
                WHEN 'output_unfit' THEN 'invalid_output' WHEN 'task_shared' THEN 'duplicate_task'
                WHEN 'media_forbidden' THEN 'address_forbidden' ELSE reason END,
    reason_detail, back_to, remark,
    CASE move WHEN 'repeat' THEN 'resend' WHEN 'ask' THEN 'poll' WHEN 'call_off' THEN 'cancel'
              WHEN 'fetch' THEN 'poll' ELSE move END,
    move_due_at, iif(state = 'downloading', coalesce(due_at, 0), NULL), iif(state = 'downloading', 1, NULL), NULL,
    due_at, tries, since, missing_since, attempts, trial_number, trial_frozen_at, trial_unknown, task_id,
    asked_at, knocked_at, cancel_wanted, alerted, 0, NULL, 0, NULL, 0, 0, NULL, progress, reserved_quota, cost_quota,
    submitted_at, completed_at, finished_at, expires_at, NULL, NULL, error_code, error_message, NULL, changed
FROM jobs ORDER BY nr;
DROP TABLE jobs;
ALTER TABLE jobs_4 RENAME TO jobs;
CREATE INDEX jobs_to_submit ON jobs (model, priority DESC, turn, nr) WHERE next_action = 'submit';
CREATE INDEX jobs_by_next_action ON jobs (next_action, next_action_at)
    WHERE next_action = 'resend' OR next_action = 'resend_failing' OR next_action = 'poll' OR next_action = 'poll_failing'
        OR next_action = 'cancel' OR next_action = 'wait' OR next_action = 'check_pictures';
CREATE INDEX jobs_scheduled ON jobs (next_action_at)
    WHERE next_action = 'wait' AND budget_wait_quota IS NULL AND failing_since IS NULL
        AND pending_attempt_number IS NULL;
CREATE INDEX jobs_over_budget ON jobs (priority DESC, nr, budget_wait_quota)
    WHERE next_action = 'wait' AND budget_wait_quota IS NOT NULL;
CREATE INDEX jobs_to_download ON jobs (expires_at, nr, download_failing) WHERE download_at IS NOT NULL;
CREATE INDEX jobs_to_download_again ON jobs (download_at) WHERE download_failing = 1;
CREATE INDEX jobs_to_upload ON jobs (upload_at) WHERE upload_at IS NOT NULL;
CREATE INDEX jobs_to_alert ON jobs (expires_at)
    WHERE expiry_alerted = 0 AND expires_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX jobs_running ON jobs (model, failing_since) WHERE state = 'submitting' OR state = 'queued' OR state = 'processing';
CREATE INDEX jobs_by_state ON jobs (state, nr);
CREATE INDEX jobs_by_end ON jobs (state, finished_at, model, submitted_at, cost_quota) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_in_need ON jobs (state, coalesce(reason, error_code, state), model)
    WHERE dismissed_at IS NULL AND (state = 'held' OR state = 'failed' OR state = 'expired');
CREATE INDEX jobs_in_need_by_number ON jobs (nr)
    WHERE dismissed_at IS NULL AND (state = 'held' OR state = 'failed' OR state = 'expired');
CREATE INDEX jobs_by_name ON jobs (name);
CREATE INDEX jobs_by_change ON jobs (last_change) WHERE last_change > 0;
CREATE INDEX jobs_by_rating ON jobs (rating, nr) WHERE rating IS NOT NULL;
CREATE INDEX jobs_by_batch ON jobs (batch);
CREATE INDEX jobs_by_cost ON jobs (cost_quota) WHERE cost_quota IS NOT NULL;

CREATE TABLE batches (
    nr          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL CHECK (source = 'inbox' OR source = 'api'),
    file_name   TEXT,
    base_name   TEXT,
    sha256      TEXT NOT NULL,
    bytes       INTEGER NOT NULL,
    jobs        INTEGER NOT NULL,
    open_jobs   INTEGER NOT NULL,
    ingested_at INTEGER NOT NULL,
    moved_at    INTEGER,
    moved_to    TEXT,
    staged      INTEGER NOT NULL,
    again_of    TEXT,
    inputs_sha256 TEXT,
    inbox       INTEGER
) STRICT;
INSERT INTO batches (nr, source, file_name, sha256, bytes, jobs, open_jobs, ingested_at, moved_at, moved_to, staged)
SELECT nr, source, file_name, sha256, bytes, jobs, (SELECT count(*) FROM jobs WHERE batch = intakes.nr AND finished_at IS NULL),
       taken_at, moved_at, moved_to, 0 FROM intakes ORDER BY nr;
DROP TABLE intakes;
CREATE INDEX batches_by_content ON batches (coalesce(base_name, file_name), sha256) WHERE file_name IS NOT NULL;
CREATE INDEX batches_by_name ON batches (substr(file_name, length(rtrim(file_name, replace(file_name, '/', ''))) + 1))
    WHERE file_name IS NOT NULL;
CREATE INDEX batches_staged ON batches (staged) WHERE staged = 1 OR staged = 2;
CREATE INDEX batches_of_several ON batches (nr) WHERE jobs > 1;
CREATE INDEX batches_open ON batches (nr, jobs, open_jobs) WHERE open_jobs > 0 AND jobs > 1;
CREATE INDEX batches_by_again_of ON batches (again_of) WHERE again_of IS NOT NULL;
CREATE INDEX batches_to_move ON batches (nr) WHERE moved_at IS NULL;
CREATE TABLE job_pictures (
    job          INTEGER NOT NULL REFERENCES jobs (nr),
    path         TEXT NOT NULL,
    inbox_path   TEXT,
    sha256       TEXT NOT NULL,
    picture_type TEXT NOT NULL,
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_pictures_by_content ON job_pictures (sha256);
CREATE TABLE uploaded_pictures (
    sha256       TEXT NOT NULL,
    picture_type TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    uploaded_at  INTEGER NOT NULL,
    PRIMARY KEY (sha256, picture_type)
) STRICT, WITHOUT ROWID;
ALTER TABLE requests ADD COLUMN warnings TEXT NOT NULL DEFAULT '[]';
ALTER TABLE requests ADD COLUMN defaults TEXT;
ALTER TABLE requests ADD COLUMN key TEXT;
CREATE INDEX keys_by_job_4 ON keys (job);
UPDATE requests SET key = (SELECT key FROM keys JOIN jobs ON jobs.id = keys.job WHERE jobs.nr = requests.job);
DROP INDEX keys_by_job_4;
CREATE TABLE moved_jobs (
    job     INTEGER PRIMARY KEY REFERENCES jobs (nr),
    line    TEXT NOT NULL
) STRICT;
ALTER TABLE attempts RENAME COLUMN frozen_at TO created_at;
ALTER TABLE attempts RENAME COLUMN last_send_at TO last_sent_at;
-- What attempts cost. Only the newest attempt of a job had its cost kept.
CREATE TABLE attempts_4 (
    job          INTEGER NOT NULL REFERENCES jobs (nr),
    number       INTEGER NOT NULL,
    key          TEXT NOT NULL UNIQUE,
    body         TEXT NOT NULL,
    body_sha256  TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    sends        INTEGER NOT NULL,
    last_sent_at INTEGER NOT NULL,
    task_id      TEXT UNIQUE,
    base_url     TEXT,
    estimate_quota  INTEGER,
    estimate_source TEXT,
    price_class     TEXT,
    frozen_quota    INTEGER,
    charged_quota   INTEGER,
    counted_quota   INTEGER NOT NULL,
    counted_settled INTEGER NOT NULL,
    counted_at      INTEGER NOT NULL,
    settlement_at    INTEGER,
    settlement_tries INTEGER NOT NULL,
    in_dispute       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, number)
) STRICT;
INSERT INTO attempts_4
SELECT
    attempts.job, number, key, body, body_sha256, attempts.created_at, sends, last_sent_at, attempts.task_id,
    NULL, NULL, NULL, NULL, iif(number = attempts_of.attempts, reserved_quota, NULL),
    iif(number = attempts_of.attempts, cost_quota, NULL),
    iif(number = attempts_of.attempts, coalesce(cost_quota, reserved_quota, 0), 0),
    iif(number = attempts_of.attempts, cost_quota IS NOT NULL, 1), attempts.created_at, NULL, 0, 0
FROM attempts JOIN jobs AS attempts_of ON attempts_of.nr = attempts.job ORDER BY attempts.rowid;
DROP TABLE attempts;
ALTER TABLE attempts_4 RENAME TO attempts;
CREATE INDEX attempts_by_price_class ON attempts (price_class, job, charged_quota)
    WHERE price_class IS NOT NULL AND charged_quota > 0;
CREATE INDEX attempts_in_dispute ON attempts (job, number) WHERE in_dispute = 1;
CREATE INDEX attempts_to_settle ON attempts (settlement_at) WHERE settlement_at IS NOT NULL;
CREATE TABLE spending (
    quarter  INTEGER PRIMARY KEY,
    reserved INTEGER NOT NULL,
    settled  INTEGER NOT NULL
) STRICT;
INSERT INTO spending
SELECT counted_at / 900000, sum(iif(counted_settled, 0, counted_quota)), sum(iif(counted_settled, counted_quota, 0))
FROM attempts WHERE counted_quota > 0 GROUP BY 1;
CREATE TABLE label_spending (
    key      TEXT NOT NULL,
    value    TEXT NOT NULL,
    reserved INTEGER NOT NULL,
    settled  INTEGER NOT NULL,
    PRIMARY KEY (key, value)
) STRICT, WITHOUT ROWID;
INSERT INTO label_spending
SELECT labels.key, value, sum(iif(counted_settled, 0, counted_quota)), sum(iif(counted_settled, counted_quota, 0))
FROM labels JOIN attempts USING (job) WHERE counted_quota > 0 GROUP BY 1, 2;
-- Each output has a schedule of its own.
CREATE TABLE outputs_4 (
    job        INTEGER NOT NULL REFERENCES jobs (nr),
    task_id    TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind = 'video' OR kind = 'image' OR kind = 'audio'),
    idx        INTEGER NOT NULL,
    position   INTEGER NOT NULL,
    state      TEXT NOT NULL CHECK (state = 'waiting' OR state = 'stored' OR state = 'lost'),
    link       TEXT,
    due_at            INTEGER,
    tries             INTEGER NOT NULL,
    link_refusals     INTEGER NOT NULL,
    refused_at        INTEGER,
    refusal_confirmed INTEGER NOT NULL,
    invalid_downloads INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    give_up_at        INTEGER,
    blocked_reason    TEXT,
    blocked_detail    TEXT,
    spooled    INTEGER NOT NULL DEFAULT 0,
    path       TEXT UNIQUE,
    bytes      INTEGER,
    sha256     TEXT,
    host       TEXT,
    stored_at  INTEGER,
    bucket     TEXT,
    rating     INTEGER,
    rating_order INTEGER NOT NULL AS (coalesce(rating * 2, 1)),
    PRIMARY KEY (job, task_id, kind, idx)
) STRICT, WITHOUT ROWID;
INSERT INTO outputs_4
SELECT
    job, task_id, kind, idx, position, state, link, iif(state = 'waiting', 0, NULL), 0, refusals,
    iif(refusals > 0, 0, NULL), confirmed, unfit, expires_at, iif(state = 'waiting', expires_at + 3600000, NULL),
    NULL, NULL, 0, planned, bytes, sha256, host, stored_at, NULL, NULL
FROM outputs;
DROP TABLE outputs;
ALTER TABLE outputs_4 RENAME TO outputs;
UPDATE attempts SET in_dispute = 1
WHERE charged_quota > 0 AND task_id IS NOT NULL AND EXISTS (SELECT 1 FROM jobs WHERE jobs.nr = attempts.job
        AND (jobs.task_id IS NOT attempts.task_id OR jobs.state IN ('failed', 'cancelled', 'expired', 'held'))
        AND (jobs.task_id IS attempts.task_id AND jobs.state = 'held'
             OR NOT EXISTS (SELECT 1 FROM outputs WHERE outputs.job = jobs.nr
                            AND outputs.task_id = attempts.task_id AND outputs.state = 'stored')));
CREATE INDEX outputs_by_time ON outputs (stored_at) WHERE state = 'stored';
CREATE INDEX outputs_by_rating ON outputs (rating_order, stored_at) WHERE state = 'stored';
CREATE TABLE hook_calls_4 (
    nr       INTEGER PRIMARY KEY,
    hook     TEXT NOT NULL,
    event    TEXT NOT NULL,
    job      INTEGER REFERENCES jobs (nr),
    batch    INTEGER,
    at       INTEGER NOT NULL,
    tries    INTEGER NOT NULL,
    due_at   INTEGER,
    tried_at INTEGER,
    outcome  TEXT
) STRICT;
INSERT INTO hook_calls_4 SELECT nr, hook, event, job, NULL, at, tries, due_at, tried_at, outcome FROM hook_calls ORDER BY nr;
DROP TABLE hook_calls;
ALTER TABLE hook_calls_4 RENAME TO hook_calls;
CREATE INDEX hook_calls_due ON hook_calls (hook, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX hook_calls_by_job ON hook_calls (job, nr) WHERE job IS NOT NULL;
CREATE INDEX hook_calls_by_batch ON hook_calls (batch) WHERE batch IS NOT NULL;
CREATE TABLE deliveries_4 (
    nr          INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    overflow    INTEGER NOT NULL,
    processed   INTEGER NOT NULL,
    body        BLOB NOT NULL
) STRICT;
INSERT INTO deliveries_4 SELECT nr, job, received_at, more, folded, body FROM deliveries ORDER BY nr;
DROP TABLE deliveries;
ALTER TABLE deliveries_4 RENAME TO deliveries;
CREATE INDEX deliveries_by_job ON deliveries (job, nr) WHERE processed = 1;
CREATE INDEX deliveries_to_process ON deliveries (nr) WHERE processed = 0;
ALTER TABLE stops RENAME TO suspensions;

UPDATE meta SET name = CASE name WHEN 'high_water' THEN 'clock_high_water' WHEN 'key' THEN 'api_key_fingerprint'
                                 WHEN 'copied' THEN 'backup_made_at' ELSE name END
WHERE name IN ('high_water', 'key', 'copied');

UPDATE history SET event = CASE event
    WHEN 'submit_unanswered' THEN 'submit_outcome_unknown'
    WHEN 'knocked' THEN 'callback_received'
    WHEN 'cancel_asked' THEN 'cancel_requested'
    WHEN 'cancel_taken' THEN 'cancel_accepted'
    WHEN 'cancel_dropped' THEN 'cancel_abandoned'
    WHEN 'link_dead' THEN 'link_expired'
    WHEN 'noted' THEN CASE detail
        WHEN 'the provider knows the task again' THEN 'task_found'
        WHEN 'the task has ended after all' THEN 'task_finished'
        ELSE 'ignored' END
    ELSE event END
WHERE event IN ('submit_unanswered', 'knocked', 'cancel_asked', 'cancel_taken', 'cancel_dropped', 'link_dead', 'noted');

-- A detail of these events begins with the reason.
UPDATE history SET detail = CASE
    WHEN detail = 'slow' OR detail LIKE 'slow: %' THEN 'timed_out' || substr(detail, 5)
    WHEN detail LIKE 'clock!_doubted%' ESCAPE '!' THEN 'outcome_unknown' || substr(detail, 14)
    WHEN detail LIKE 'output!_unfit%' ESCAPE '!' THEN 'invalid_output' || substr(detail, 13)
    WHEN detail LIKE 'task!_shared%' ESCAPE '!' THEN 'duplicate_task' || substr(detail, 12)
    WHEN detail LIKE 'media!_forbidden%' ESCAPE '!' THEN 'address_forbidden' || substr(detail, 16)
    ELSE detail END
WHERE event IN ('held', 'released');
UPDATE history SET detail = 'for ' || substr(detail, 7)
WHERE event = 'callback_received' AND detail LIKE 'names task %';
-- Two causes more.
CREATE TABLE suspensions_4 (
    cause   TEXT NOT NULL PRIMARY KEY CHECK (cause = 'paused_submits' OR cause = 'paused_downloads'
                                             OR cause = 'superseded' OR cause = 'rate_limited'
                                             OR cause = 'key_refused' OR cause = 'balance_empty'
                                             OR cause = 'misconfigured' OR cause = 'unreachable' OR cause = 'clock_unreliable'),
    until   INTEGER,
    message TEXT NOT NULL,
    since   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO suspensions_4 SELECT cause, until, message, since FROM suspensions;
DROP TABLE suspensions;
ALTER TABLE suspensions_4 RENAME TO suspensions;


CREATE TABLE idempotency_keys (
    key            TEXT NOT NULL PRIMARY KEY,
    request_sha256 TEXT NOT NULL,
    batch          INTEGER NOT NULL,
    used_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (used_at);
CREATE TABLE learned_times (
    price_class TEXT NOT NULL PRIMARY KEY,
    times       TEXT NOT NULL,
    median      INTEGER,
    p90         INTEGER,
    long        INTEGER,
    learned_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE quotes (
    request_sha256 TEXT NOT NULL PRIMARY KEY,
    quota          INTEGER NOT NULL,
    quoted_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quotes_by_age ON quotes (quoted_at);
CREATE TABLE outdated_sidecars (
    path    TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_counts (
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    estimate_quota INTEGER NOT NULL,
    PRIMARY KEY (state, model)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER job_recounted AFTER UPDATE OF state, model, estimate_quota ON jobs
WHEN old.state <> new.state OR old.model <> new.model OR old.estimate_quota IS NOT new.estimate_quota BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    INSERT INTO job_counts VALUES (new.state, new.model, 1, coalesce(new.estimate_quota, 0))
    ON CONFLICT (state, model) DO UPDATE
    SET jobs = jobs + 1, estimate_quota = estimate_quota + excluded.estimate_quota;
END;
CREATE TRIGGER job_uncounted AFTER DELETE ON jobs BEGIN
    UPDATE job_counts SET jobs = jobs - 1, estimate_quota = estimate_quota - coalesce(old.estimate_quota, 0)
    WHERE state = old.state AND model = old.model;
    DELETE FROM job_counts WHERE state = old.state AND model = old.model AND jobs = 0;
END;
INSERT INTO job_counts
SELECT state, model, count(*), coalesce(sum(estimate_quota), 0) FROM jobs GROUP BY state, model;
CREATE TABLE need_counts (
    state TEXT NOT NULL,
    cause TEXT NOT NULL,
    model TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (state, cause, model)
) STRICT, WITHOUT ROWID;
INSERT INTO need_counts
SELECT state, coalesce(reason, error_code, state), model, count(*) FROM jobs
WHERE dismissed_at IS NULL AND (state = 'held' OR state = 'failed' OR state = 'expired')
GROUP BY state, coalesce(reason, error_code, state), model;
CREATE TABLE report_sums (
    kind       TEXT NOT NULL CHECK (kind = 'model' OR kind = 'label' OR kind = 'file' OR kind = 'removed'),
    day        INTEGER NOT NULL,
    name       TEXT NOT NULL,
    succeeded  INTEGER NOT NULL,
    failed     INTEGER NOT NULL,
    cancelled  INTEGER NOT NULL,
    expired    INTEGER NOT NULL,
    cost_quota INTEGER NOT NULL,
    times      TEXT NOT NULL,
    PRIMARY KEY (kind, day, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_sums_of_files ON report_sums (name, day) WHERE kind = 'file';
