//! Bundles that the backend makes: asked for, followed while they are made, ended.

use leptos::prelude::*;
use leptos::task::spawn_local;
use whence_shared::shares::{BundleMaking, BundleState, NewBundle};

use crate::api::{Api, Nothing, RequestError};
use crate::fetch::sleep;

/// Pause between two looks at a bundle that is being made, in milliseconds.
const PAUSE_MS: f64 = 400.0;

/// The bundle that is made or ready; cheap to copy.
#[derive(Clone, Copy)]
pub struct Bundles {
    /// What is known of it; none where none was asked for.
    pub last: RwSignal<Option<BundleMaking>>,
    /// Why it could not be asked for or followed.
    pub problem: RwSignal<Option<RequestError>>,
    /// Whether the request that begins one is under way.
    pub is_asking: RwSignal<bool>,
    api: Api,
    /// Which following is on: an older one ends.
    turn: StoredValue<u32>,
}

impl Bundles {
    /// Looks whether there is one. Called by the page that shows it.
    pub fn start(api: Api) -> Self {
        let bundles = Self {
            last: RwSignal::new(None),
            problem: RwSignal::new(None),
            is_asking: RwSignal::new(false),
            api,
            turn: StoredValue::new(0),
        };
        spawn_local(async move {
            // A server of an older version knows none.
            if let Ok(all) = api.get::<Vec<BundleMaking>>("bundles").await
                && let Some(last) = all.into_iter().next()
            {
                bundles.follow(last);
            }
        });
        bundles
    }

    /// Asks for one; the one before ends.
    pub fn make(self, asked: NewBundle) {
        self.is_asking.set(true);
        self.problem.set(None);
        spawn_local(async move {
            match self.api.post::<BundleMaking>("bundles", &asked).await {
                Ok(begun) => self.follow(begun),
                Err(error) => drop(self.problem.try_set(Some(error))),
            }
            self.is_asking.try_set(false);
        });
    }

    /// Ends it and has its file removed.
    pub fn cancel(self) {
        let Some(id) = self.last.with_untracked(|last| last.as_ref().map(|last| last.id)) else { return };
        spawn_local(async move {
            match self.api.post::<BundleMaking>(&format!("bundles/{id}/cancel"), &Nothing {}).await {
                Ok(ended) => self.follow(ended),
                Err(error) => drop(self.problem.try_set(Some(error))),
            }
        });
    }

    /// Where its file is, for the browser to download.
    pub fn file(self, id: u64) -> String {
        self.api.address(&format!("bundles/{id}/file"))
    }

    /// Shows how far it is until it is ready, failed or ended.
    fn follow(self, begun: BundleMaking) {
        let Some(turn) = self.turn.try_update_value(|turn| {
            *turn += 1;
            *turn
        }) else {
            return;
        };
        let (id, mut state) = (begun.id, begun.state);
        self.last.try_set(Some(begun));
        spawn_local(async move {
            while state == BundleState::Making {
                sleep(PAUSE_MS).await;
                if self.turn.try_get_value() != Some(turn) {
                    return;
                }
                match self.api.get::<BundleMaking>(&format!("bundles/{id}")).await {
                    Ok(now) => {
                        state = now.state;
                        self.problem.try_set(None);
                        self.last.try_set(Some(now));
                    }
                    // It goes on while nobody sees it: it is asked for again.
                    Err(RequestError::Unreachable) => drop(self.problem.try_set(Some(RequestError::Unreachable))),
                    Err(error) => {
                        self.last.try_set(None);
                        self.problem.try_set(Some(error));
                        return;
                    }
                }
            }
        });
    }
}
