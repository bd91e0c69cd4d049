//! The worker: waits for rank requests from the page.

fn main() {
    console_error_panic_hook::set_once();
    whence_frontend::ranker::serve();
}
