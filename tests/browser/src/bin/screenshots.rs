//! Pictures of the app: `screenshots ADDRESS FOLDER` photographs a running app on a desk and in a hand, light and dark.
//!
//! The address may carry a query string that chooses behavior, layer, k and pair.

use std::path::PathBuf;

use whence_browser_tests::browser::{Browser, Screen};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, folder] = arguments.as_slice() else { panic!("expected ADDRESS FOLDER, got {arguments:?}") };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    let browser = Browser::start(Screen::DESK).await;
    for (place, screen) in [("desk", Screen::DESK), ("hand", Screen::HAND)] {
        for (scheme, is_dark) in [("light", false), ("dark", true)] {
            browser.resize(Screen { is_dark, ..screen }).await;
            browser.open(address, "ranked").await;
            // Everything the table and the pane wait for has arrived.
            browser.wait_until("return !document.body.innerText.includes('Reading ')", vec![]).await;
            let path = folder.join(format!("{place}-{scheme}.png"));
            browser.screenshot(&path).await;
            println!("{}", path.display());
        }
    }
}
