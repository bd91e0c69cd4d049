//! The app: in a document it is the page, in a worker it serves the page.

fn main() {
    console_error_panic_hook::set_once();
    match whence_frontend::ranker::worker_scope() {
        Some(scope) => whence_frontend::ranker::serve(&scope),
        None => whence_frontend::app::mount(),
    }
}
