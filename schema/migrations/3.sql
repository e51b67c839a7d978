-- Version 3: keys outlive pruned jobs, and pruning a job does not scan the labels.
CREATE TABLE labels_without_reference (
    key TEXT NOT NULL, value TEXT NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;
INSERT INTO labels_without_reference SELECT key, value, job FROM labels;
DROP TABLE labels;
ALTER TABLE labels_without_reference RENAME TO labels;
CREATE TABLE keys_by_id (key TEXT NOT NULL PRIMARY KEY, job TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO keys_by_id SELECT keys.key, jobs.id FROM keys JOIN jobs ON jobs.nr = keys.job;
DROP TABLE keys;
ALTER TABLE keys_by_id RENAME TO keys;
