-- A long history: `:jobs` jobs, which ended in the 180 days before `:now`; 99 of 100 have ended, and most of
-- the others wait to be submitted. Only their number grows: the days, models, labels, causes and the tasks at the provider
-- are the same for each number, as they are in a real folder.
-- benches/performance and the tests of growth replace the parameters and run it in an empty database.
CREATE TEMP TABLE numbers AS
WITH RECURSIVE numbers (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM numbers LIMIT :jobs) SELECT k FROM numbers;

CREATE TEMP TABLE plan AS
SELECT k, (k + 19) / 20 AS batch,
    CASE WHEN k > :jobs - 4 THEN 'queued' WHEN k > :jobs - 8 THEN 'processing'
         WHEN k > :jobs - 8 - :jobs / 125 THEN 'pending' WHEN k % 5000 = 1 THEN 'held'
         WHEN k % 200 = 3 THEN 'failed' WHEN k % 500 = 4 THEN 'cancelled' WHEN k % 1000 = 5 THEN 'expired'
         ELSE 'succeeded' END AS state,
    'model-' || (k % 4) AS model,
    :now - 15552000000 + k * 15552000000 / :jobs AS ended,
    30000 + k * 7919 % 90000 AS took,
    50000 + k * 104729 % 100000 AS cost
FROM numbers;

INSERT INTO batches (nr, source, file_name, sha256, bytes, jobs, open_jobs, ingested_at, moved_at, moved_to, staged)
SELECT batch, 'inbox', 'ads/shots-' || batch || '.jsonl', printf('%064x', batch), 1000, count(*),
    count(*) FILTER (WHERE state IN ('pending', 'held', 'queued', 'processing')), min(ended) - 600000,
    min(ended) - 599000, 'accepted/' || batch || '.jsonl', 0
FROM plan GROUP BY batch;

INSERT INTO jobs (nr, id, batch, name, model, priority, estimate_quota, adopted, created_at, turn, state, reason, reason_detail,
    held_from, next_action, next_action_at, due_at, tries, state_since, attempts, task_id, cancel_requested, expiry_alerted,
    unattended_entries, settlement_tries, checks_waived, unlisted_allowed, progress, cost_quota, submitted_at,
    completed_at, finished_at, dismissed_at, error_code, error_message, rating, last_change)
SELECT k, printf('%08x-%04x-7000-8000-%012x', (ended / 65536) & 0xffffffff, ended & 0xffff, k), batch, 'shot-' || k, model, 0,
    70000, 0, ended - took - 5000, '', state, iif(state = 'held', 'too_expensive', NULL), iif(state = 'held', 'dear', NULL),
    iif(state = 'held', 'pending', NULL),
    CASE state WHEN 'pending' THEN 'submit' WHEN 'queued' THEN 'poll' WHEN 'processing' THEN 'poll' END,
    CASE WHEN state IN ('pending', 'queued', 'processing') THEN :now + 86400000 END,
    CASE WHEN state IN ('pending', 'queued', 'processing', 'held') THEN :now + 86400000 END,
    CASE WHEN state IN ('pending', 'queued', 'processing', 'held') THEN 0 END, ended,
    state NOT IN ('pending', 'held'), iif(state IN ('pending', 'held'), NULL, 'task-' || k), 0, 0, 0, 0, 0, 0,
    iif(state = 'succeeded', 100, 0), CASE state WHEN 'succeeded' THEN cost WHEN 'failed' THEN iif(k % 5 = 0, cost, 0) END,
    iif(state IN ('pending', 'held'), NULL, ended - took), iif(state = 'succeeded', ended - 2000, NULL),
    CASE WHEN state IN ('succeeded', 'failed', 'cancelled', 'expired') THEN ended END,
    CASE WHEN state IN ('failed', 'expired') AND k < :jobs - 1000 THEN ended END,
    iif(state = 'failed', 'task_failed', NULL), iif(state = 'failed', 'the model is busy', NULL),
    iif(state = 'succeeded' AND k % 10 = 0, k / 10 % 6, NULL), k
FROM plan ORDER BY k;

INSERT INTO requests (job, body, prompt, labels)
SELECT k, json_object('model', model, 'prompt', 'a quiet street in the rain, shot ' || k, 'duration', 5, 'resolution', '720p'),
    'a quiet street in the rain, shot ' || k, json_object('folder', 'ads/' || (k % 5), 'project', 'p' || (k % 7))
FROM plan ORDER BY k;

INSERT INTO labels (key, value, job) SELECT 'folder', 'ads/' || (k % 5), k FROM plan ORDER BY k % 5, k;
INSERT INTO labels (key, value, job) SELECT 'project', 'p' || (k % 7), k FROM plan ORDER BY k % 7, k;

INSERT INTO attempts (job, number, key, body, body_sha256, created_at, sends, last_sent_at, task_id, estimate_quota,
    estimate_source, price_class, charged_quota, counted_quota, counted_settled, counted_at, settlement_tries)
SELECT k, 1, jobs.id, '{}', printf('%064x', k), ended - took, 1, ended - took, jobs.task_id, 70000, 'list',
    iif(plan.state = 'failed', NULL, plan.model || ' 720p 5'), jobs.cost_quota, coalesce(jobs.cost_quota, 70000),
    jobs.cost_quota IS NOT NULL, ended - took, 0
FROM plan JOIN jobs ON jobs.nr = k WHERE jobs.attempts = 1 ORDER BY k;

INSERT INTO outputs (job, task_id, kind, idx, position, state, tries, link_refusals, refusal_confirmed, invalid_downloads,
    expires_at, path, bytes, sha256, host, stored_at, rating)
SELECT k, 'task-' || k, 'video', 0, 0, 'stored', 0, 0, 0, 0, ended + 86400000,
    date(ended / 1000, 'unixepoch') || '/shot-' || k || '.mp4', 1000000, printf('%064x', k), 'cdn.example', ended, rating
FROM plan JOIN jobs ON jobs.nr = k WHERE plan.state = 'succeeded' ORDER BY k;

INSERT INTO deliveries (job, received_at, body, overflow, processed)
SELECT k, ended - 2500, CAST('{"task_id":"task-' || k || '"}' AS BLOB), 0, 1
FROM plan WHERE state IN ('succeeded', 'failed') ORDER BY k;

INSERT INTO history (job, at, event, detail)
SELECT k, ended - step.before, step.event, ''
FROM plan, (SELECT 1 AS at, 600000 AS before, 'accepted' AS event UNION ALL SELECT 2, 100000, 'submitted'
    UNION ALL SELECT 3, 2000, 'completed' UNION ALL SELECT 4, 0, 'stored') AS step ORDER BY k, step.at;

INSERT INTO learned_times (price_class, times, median, p90, long, learned_at)
SELECT DISTINCT model || ' 720p 5', '[60000]', 60000, 90000, 120000, :now FROM plan;
INSERT INTO spending SELECT counted_at / 900000, 0, sum(counted_quota) FROM attempts GROUP BY 1;
INSERT INTO label_spending SELECT labels.key, value, 0, sum(counted_quota) FROM labels JOIN attempts USING (job) GROUP BY 1, 2;
INSERT INTO job_counts SELECT state, model, count(*), coalesce(sum(estimate_quota), 0) FROM jobs GROUP BY state, model;
INSERT INTO need_counts SELECT state, coalesce(reason, error_code, state), model, count(*) FROM jobs
WHERE dismissed_at IS NULL AND state IN ('held', 'failed', 'expired') GROUP BY 1, 2, 3;
-- The next start submits nothing.
INSERT INTO suspensions VALUES ('paused_submits', NULL, 'paused', :now);
DROP TABLE temp.plan;
DROP TABLE temp.numbers;
