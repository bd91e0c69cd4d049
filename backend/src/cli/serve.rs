//! `whence serve`: a study and the app, in the browser.

use std::net::IpAddr;
use std::path::PathBuf;

use whence_backend::server::{self, DEFAULT_PORT, ServeOptions, Server};
use whence_backend::study::Study;

/// Arguments of `whence serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Study folder
    #[arg(long)]
    study: PathBuf,
    /// Address to listen on; anything but a loopback address opens the study to the network
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port; 0 = any free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Folder of the built app [default: $WHENCE_APP, `app` beside the executable, or frontend/dist]
    #[arg(long)]
    app: Option<PathBuf>,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let app = self.app.map_or_else(server::app::find, Ok)?;
        let study = Study::at(self.study);
        let name = study.name();
        let server = Server::bind(study, &ServeOptions { host: self.host, port: self.port, app })?;
        println!("{name}: http://{}/ (Ctrl-C to stop)", server.address());
        if !self.host.is_loopback() {
            println!("open to everyone who can reach this address: no password, texts included");
        }
        Ok(server.run_until_interrupted()?)
    }
}
