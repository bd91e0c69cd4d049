//! `whence`, the command: parses arguments, calls one verb, prints what it returned.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // SAFETY: the first thing that is done, and the only thread so far.
    unsafe { whence_backend::device::expect_no_display() };
    end_quietly_when_nobody_reads();
    end_with_standard_input();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("WHENCE_LOG").unwrap_or_else(|_| "warn".into()))
        .with_writer(std::io::stderr)
        .init();
    let code = match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    };
    // On standard error: what a verb prints may be read by a program.
    if let Some(memory) = whence_backend::memory::summary() {
        eprintln!("{memory}");
    }
    code
}

/// A job of a server ends with it, however it ends: the server holds the other end of our standard input.
fn end_with_standard_input() {
    if std::env::var_os(whence_backend::jobs::PARENT).is_none() {
        return;
    }
    std::thread::spawn(|| {
        // Nothing is ever written to it; what is read is its end, or an error, which is the same to us.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        eprintln!("error: the server that ran this ended; what is done is kept");
        std::process::exit(1);
    });
}

/// `whence rank … | head` closes our standard output while we still print: that is how pipes end, not an error.
fn end_quietly_when_nobody_reads() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if message.starts_with("failed printing to stdout") && message.contains("Broken pipe") {
            std::process::exit(0);
        }
        default(info);
    }));
}

/// An error and its causes, each said once: many messages already end with what the system said.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
