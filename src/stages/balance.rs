//! Reads the balance when somebody wants to know it. Whatever the answer, no other call waits for it.

use std::sync::Arc;

use crate::job::JobId;
use crate::stages::provider_session::ProviderSession;
use crate::stages::{InFlight, Stage, Wake};
use crate::store::error::StoreError;

/// The stage of the balance.
pub struct BalanceStage {
    session: Arc<ProviderSession>,
    in_flight: InFlight,
}

impl BalanceStage {
    /// Listens from now on.
    pub fn new(session: Arc<ProviderSession>) -> Self {
        Self { in_flight: InFlight::new(1, session.clock.clone()), session }
    }
}

impl Stage for BalanceStage {
    const NAME: &'static str = "balance";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if !self.in_flight.is_full() && self.session.balance.take_wanted() {
            let session = self.session.clone();
            let read = async move {
                session.read_balance().await;
                true
            };
            self.in_flight.spawn(JobId::NONE, read);
        }
        Ok(Wake::OnNotify)
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.session.balance.wanted() => {}
            () = self.in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // It has no effect at the provider.
        self.in_flight.abort().await;
    }
}
