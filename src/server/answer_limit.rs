//! Limits answers that last: an event stream, or a file for a slow reader. Their connections are never idle, so without a
//! limit of their own they could take up all connections and lock everybody else out.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// A body that holds a permit until it is written or its client is gone.
struct PermittedBody {
    body: BoxBody,
    _permit: OwnedSemaphorePermit,
}

/// Holds `permit` for as long as `body` is being written.
pub(super) fn hold(permit: OwnedSemaphorePermit, body: BoxBody) -> BoxBody {
    BoxBody::new(PermittedBody { body, _permit: permit })
}

impl MessageBody for PermittedBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
