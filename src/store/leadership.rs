//! Whether this process leads the database or follows another one that does (`db/postgres/lock.rs`).

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::store::Store;
use crate::store::db::{self, Connection, Database, OptionalExtension};

/// The row of `meta` with the time when an operator resumed calls last, which whoever leads has to know.
pub(super) const RESUMED_AT: &str = "resumed_at";

/// How a process uses a database that others may use, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It submits, polls and processes callbacks. Only one does.
    Leader,
    /// It takes in jobs and callbacks, and stores outputs.
    Follower,
}

/// What the writer knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leadership {
    Leads,
    /// The process that leads, for people; empty: not known at the moment.
    Follows {
        leader: String,
    },
    /// It followed, and no process leads any more: this one does once it opens the database again.
    MayLead,
}

/// The writer's side.
pub(super) struct LeadershipWatch {
    sender: watch::Sender<Leadership>,
    named_term: Option<i64>,
    resumed_at: Option<Timestamp>,
}

impl LeadershipWatch {
    pub fn new(role: Role) -> (Self, watch::Receiver<Leadership>) {
        let (sender, receiver) = watch::channel(match role {
            Role::Leader => Leadership::Leads,
            Role::Follower => Leadership::Follows { leader: String::new() },
        });
        (Self { sender, named_term: None, resumed_at: None }, receiver)
    }

    fn follows(&self) -> bool {
        matches!(&*self.sender.borrow(), Leadership::Follows { .. })
    }

    /// Finds out who leads, and takes over if nobody does.
    pub fn look(&mut self, connection: &Connection) -> db::Result<()> {
        if !self.follows() {
            return Ok(());
        }
        if connection.try_lead()? {
            self.sender.send_replace(Leadership::MayLead);
            return Ok(());
        }
        let term = connection.term();
        if self.named_term != Some(term) {
            let leader = connection.leader()?;
            self.named_term = leader.is_some().then_some(term);
            self.sender.send_replace(Leadership::Follows { leader: leader.unwrap_or_default() });
        }
        Ok(())
    }

    /// Whether an operator has resumed calls since this was asked last.
    pub fn was_resumed(&mut self, connection: &Connection) -> db::Result<bool> {
        let select = "SELECT value FROM meta WHERE name = ?1";
        let resumed_at = connection.query_row(select, [RESUMED_AT], |row| row.get(0)).optional()?;
        Ok(std::mem::replace(&mut self.resumed_at, resumed_at) != resumed_at)
    }
}

impl Store {
    /// Whether another process leads. Then nothing is asked of the provider here.
    pub fn follows(&self) -> bool {
        !matches!(&*self.leadership.borrow(), Leadership::Leads)
    }

    /// Whether other processes may use the database, too.
    pub fn has_others(&self) -> bool {
        matches!(self.readers.file.database(), Database::Postgres(_))
    }

    /// The process that leads, for people, if this one follows.
    pub fn leader(&self) -> Option<String> {
        match &*self.leadership.borrow() {
            Leadership::Leads => None,
            Leadership::Follows { leader } if !leader.is_empty() => Some(leader.clone()),
            Leadership::Follows { .. } | Leadership::MayLead => Some("no daemon".to_owned()),
        }
    }

    /// Waits until no other process leads, so that this one may.
    pub async fn may_lead(&self) {
        let mut leadership = self.leadership.clone();
        if leadership.wait_for(|known| *known == Leadership::MayLead).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests;
