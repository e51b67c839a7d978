//! Makes the neutral calls that the gate wants: they show whether what a job got as an answer concerns the account.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::JobId;
use crate::pricing::price_book::CataloguePrice;
use crate::provider::catalogue::{Catalogue, ListedPrice};
use crate::provider::gate::NeutralPermit;
use crate::stages::provider_session::ProviderSession;
use crate::stages::{InFlight, Stage, Wake};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::notify::{Notifications, Topic};

pub struct AccountStage {
    store: Store,
    session: Arc<ProviderSession>,
    in_flight: InFlight,
    resumed: Notifications,
}

impl AccountStage {
    /// Listens from now on.
    pub fn new(store: &Store, session: Arc<ProviderSession>) -> Self {
        let in_flight = InFlight::new(1, session.clock.clone());
        Self { store: store.clone(), resumed: store.listen(Topic::Resume), session, in_flight }
    }
}

/// What each model costs, as far as the list says.
fn prices_of(catalogue: &Catalogue) -> BTreeMap<String, Vec<CataloguePrice>> {
    let of_model = |model: &str| {
        let listed = catalogue.prices(model).into_iter();
        listed
            .map(|ListedPrice { resolution, sound, price }| CataloguePrice {
                resolution,
                sound,
                second: price,
            })
            .collect()
    };
    catalogue.names().map(|model| (model.to_owned(), of_model(model))).collect()
}

async fn call(store: Store, session: Arc<ProviderSession>, permit: NeutralPermit) -> bool {
    let (call, mut classified) = session.client.neutral(permit).await;
    // First: once the clock is verified by this answer, submits begin, and they look at the list.
    if let Some(catalogue) = classified.verdict.take() {
        store.set_catalogue_prices(prices_of(&catalogue));
        session.catalogue.record(catalogue);
    }
    if let Err(error) = session.record(call, classified).await {
        tracing::error!("saving what the provider answered about the account failed: {error}");
    }
    true
}

impl Stage for AccountStage {
    const NAME: &'static str = "account";

    async fn pass(&self) -> Result<Wake, StoreError> {
        if !self.in_flight.is_full()
            && let Some(permit) = self.session.admit_neutral().await?
        {
            self.in_flight.spawn(JobId::NONE, call(self.store.clone(), self.session.clone(), permit));
        }
        Ok(Wake::at(self.session.next_neutral().filter(|_| !self.in_flight.is_full())))
    }

    async fn notified(&self) {
        tokio::select! {
            biased;
            () = self.resumed.next() => self.session.resume(),
            () = self.session.neutral_wanted() => {}
            () = self.in_flight.completed() => {}
        }
    }

    async fn drain(&self) {
        // It has no effect at the provider.
        self.in_flight.abort().await;
    }
}
