//! What processes that share the database with this one and are gone have left undone.

use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::job_files::unfinished::unfinished_where;

impl Store {
    /// The numbers of the processes that are not connected, though they have claims or were ingesting a file.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn gone_processes(&self) -> Result<Vec<i32>, StoreError> {
        self.read(|connection| {
            let Some(connected) = connection.connected_processes() else { return Ok(Vec::new()) };
            let mut gone = connection.prepare_cached(&format!(
                "SELECT process FROM claims WHERE process NOT IN {connected}
                 UNION SELECT inbox FROM batches
                 WHERE (staged = 1 OR staged = 2) AND inbox IS NOT NULL AND inbox NOT IN {connected}"
            ))?;
            let gone = gone.query_map([], |row| row.get(0))?;
            Ok(gone.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Finishes the files that a process was ingesting, unless it is back: what of them was accepted becomes due, the rest is
    /// deleted. Otherwise no other process could ingest the same file, for its keys are taken.
    ///
    /// # Errors
    /// Any failure of the database. The next call does the rest.
    pub async fn finish_files_of(&self, process: i32) -> Result<(), StoreError> {
        let files = self
            .read(move |connection| {
                let Some(connected) = connection.connected_processes() else { return Ok(Vec::new()) };
                let condition = format!("inbox = {process} AND inbox NOT IN {connected}");
                Ok(unfinished_where(connection, &condition)?)
            })
            .await?;
        self.unfinished.lock().extend(files);
        self.finish_unfinished().await
    }

    /// Lets other processes download what waits in the spool of one, unless it is back. Returns how many jobs have such outputs.
    ///
    /// # Errors
    /// Any failure of the database.
    pub async fn release_claims_of(&self, process: i32) -> Result<usize, StoreError> {
        self.writer
            .write(move |writing| {
                let Some(connected) = writing.connection.connected_processes() else { return Ok(0) };
                let release = format!("DELETE FROM claims WHERE process = ?1 AND process NOT IN {connected}");
                Ok(writing.connection.execute(&release, [process])?)
            })
            .await
    }
}
