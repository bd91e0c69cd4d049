//! Downloads under one control: who fetches pauses them at a gate, cancels them, and is told what happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use web_sys::{AbortController, AbortSignal};

use super::FetchError;

/// Holds up whoever passes while it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    is_closed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    /// Holds up whoever comes, or lets everyone pass.
    pub fn set_closed(&self, is_closed: bool) {
        if is_closed {
            self.is_closed.set(true);
        } else {
            self.open();
        }
    }

    /// Lets everyone pass.
    pub fn open(&self) {
        self.is_closed.set(false);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Returns once the gate is open.
    pub async fn pass(&self) {
        std::future::poll_fn(|context| {
            if self.is_closed.get() {
                self.waiting.borrow_mut().push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// What happens during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This many bytes arrived.
    Arrived(u64),
    /// This many bytes that had arrived are of no use: the download began anew.
    Lost(u64),
    /// It broke and will be tried again; the number of tries in vain, and what broke.
    Retrying(u32, FetchError),
}

/// How to pause, cancel and follow downloads; cheap to clone.
#[derive(Clone)]
pub struct Transfer {
    controller: AbortController,
    pub(super) gate: Rc<Gate>,
    on_event: Rc<dyn Fn(Event)>,
}

impl Transfer {
    /// Downloads under one control; `on_event` is told what happens.
    ///
    /// # Panics
    ///
    /// Panics where the browser cannot abort downloads; all that run WebAssembly can.
    pub fn new(gate: Rc<Gate>, on_event: impl Fn(Event) + 'static) -> Self {
        let controller = AbortController::new().expect("browsers with WebAssembly abort downloads");
        Self { controller, gate, on_event: Rc::new(on_event) }
    }

    /// Ends every download under way, paused ones too.
    pub fn cancel(&self) {
        self.controller.abort();
        self.gate.open();
    }

    /// Whether [`Transfer::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.signal().aborted()
    }

    /// For requests that are made elsewhere.
    pub fn signal(&self) -> AbortSignal {
        self.controller.signal()
    }

    /// Says that bytes which had arrived are of no use.
    pub fn lost(&self, n_bytes: u64) {
        self.tell(Event::Lost(n_bytes));
    }

    pub(super) fn tell(&self, event: Event) {
        (self.on_event)(event);
    }
}

impl Default for Transfer {
    /// Neither paused nor followed.
    fn default() -> Self {
        Self::new(Rc::default(), |_| {})
    }
}
