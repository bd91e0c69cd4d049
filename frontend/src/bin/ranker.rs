//! The workers: the coordinator waits for requests from the page, scorers for calls from the coordinator.

fn main() {
    console_error_panic_hook::set_once();
    whence_frontend::ranker::serve();
}
