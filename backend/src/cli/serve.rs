//! `whence serve`: a study and the app, in the browser.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use whence_backend::server::{DEFAULT_PORT, ServeOptions, Server};
use whence_backend::study::Study;
use whence_backend::view::app::App;

use super::app;

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
    /// Let whoever reaches the server decide about pairs and make edit sets, also when it is open to the network
    #[arg(long)]
    allow_edits: bool,
    /// Let whoever reaches the server run verbs on the study, also when it is open to the network
    #[arg(long)]
    jobs: bool,
    /// Let others than this machine reach read-only links (/s/…) and nothing else
    #[arg(long, conflicts_with_all = ["allow_edits", "jobs"])]
    shares: bool,
    /// Answer under this host name as well, such as that of a proxy in front of it; may be given several times. Known without:
    /// localhost and, when it is open to the network, every address and the machine's own name
    #[arg(long = "allow-host", value_name = "NAME", value_parser = host_name, conflicts_with = "shares")]
    allow_host: Vec<String>,
    /// Folder of the built app [default: $WHENCE_APP, or the app in this program]
    #[arg(long)]
    app: Option<PathBuf>,
}

impl Args {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<()> {
        let app = App::find(self.app, app::embedded())?;
        let study = Study::at(self.study);
        let name = study.name();
        let jobs = (self.host.is_loopback() || self.jobs || self.shares).then(std::env::current_exe).transpose()?;
        let can_edit = self.host.is_loopback() || self.allow_edits || self.shares;
        let (host, port, shares, allowed_hosts) = (self.host, self.port, self.shares, self.allow_host);
        let server = Server::bind(study, &ServeOptions { host, port, app, can_edit, jobs, shares, allowed_hosts })?;
        let mut text = format!("{name}: http://{}/ (Ctrl-C to stop)\n", server.address());
        if shares {
            text += "others reach read-only links alone: POST /api/v1/shares makes one\n";
        } else if !host.is_loopback() {
            text += "open to everyone who can reach this address: no password, texts included\n";
        }
        // Whoever started it need not read this: it serves all the same.
        let _ = io::stdout().write_all(text.as_bytes());
        Ok(server.run_until_interrupted()?)
    }
}

/// A name as a browser sends it.
fn host_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err("expected a host name such as study.example, without http://, port or path".into())
}
