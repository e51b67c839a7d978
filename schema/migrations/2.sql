-- Version 2: the conditions of two indexes match the text of the statements that use them.
DROP INDEX jobs_running;
CREATE INDEX jobs_running ON jobs (model) WHERE state = 'submitting' OR state = 'queued' OR state = 'processing';
-- New entries with rising names share pages.
DROP INDEX intakes_by_content;
CREATE INDEX intakes_by_content ON intakes (file_name, sha256) WHERE file_name IS NOT NULL;
