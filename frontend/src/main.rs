//! The page: mounts the app.

fn main() {
    console_error_panic_hook::set_once();
    whence_frontend::app::mount();
}
