//! How many things are under way at once: of one tenant, and of all. Who finds no place waits for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Tenants remembered before those without a place are forgotten.
const TIDY_FROM: usize = 1024;

/// Room for so many of one tenant and so many of all.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Held only to look up; nobody waits with it.
    tenants: Mutex<HashMap<String, Weak<Semaphore>>>,
    tenant_at_once: usize,
}

/// One thing under way; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Place {
    _tenant: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(at_once: usize, tenant_at_once: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), tenants: Mutex::default(), tenant_at_once }
    }

    /// Waits for a place, first come first served. First among the tenant's own: those who wait there take no place from others.
    pub(crate) async fn enter(&self, tenant: &str) -> Place {
        const OPEN: &str = "these semaphores are never closed";
        let own = self.tenant(tenant).acquire_owned().await.expect(OPEN);
        let all = Arc::clone(&self.all).acquire_owned().await.expect(OPEN);
        Place { _tenant: own, _all: all }
    }

    fn tenant(&self, tenant: &str) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = tenants.get(tenant).and_then(Weak::upgrade) {
            return places;
        }
        if tenants.len() >= TIDY_FROM {
            tenants.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.tenant_at_once));
        tenants.insert(tenant.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What `places` says now, without waiting.
    fn now(places: &Places, tenant: &str) -> Option<Place> {
        match pin!(places.enter(tenant)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_tenant_waits_for_itself_and_not_for_others() {
        let places = Places::new(10, 1);

        let first = now(&places, "acme").unwrap();
        assert!(now(&places, "acme").is_none());
        assert!(now(&places, "beta").is_some());

        drop(first);
        assert!(now(&places, "acme").is_some());
    }

    #[test]
    fn all_together_have_a_bound_as_well() {
        let places = Places::new(1, 10);

        let first = now(&places, "acme").unwrap();
        assert!(now(&places, "beta").is_none());

        drop(first);
        assert!(now(&places, "beta").is_some());
    }

    #[test]
    fn tenants_without_a_place_are_forgotten() {
        let places = Places::new(10, 1);
        let kept = now(&places, "kept").unwrap();
        for index in 0..3 * TIDY_FROM {
            now(&places, &format!("tenant{index}")).unwrap();
        }

        assert!(places.tenants.lock().unwrap().len() <= TIDY_FROM);
        assert!(now(&places, "kept").is_none());
        drop(kept);
    }
}
