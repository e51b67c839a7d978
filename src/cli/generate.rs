//! `init`, `completions`, `man`: what is written for people to keep.

use std::io::Write as _;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::args::{CommandLine, Init};
use crate::cli::term::{self, put, tell};
use crate::cli::{Context, Exit, Failure};
use crate::settings::DEFAULT_CONFIG;

/// `init`
pub(super) fn init(_context: &Context, init: &Init) -> Result<Exit, Failure> {
    let path = &init.output;
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create(init.force)
        .truncate(init.force)
        .create_new(!init.force)
        .open(path);
    let written = opened.and_then(|mut file| file.write_all(DEFAULT_CONFIG.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Failed, format!("{} is there already; --force replaces it", path.display()))
        }
        _ => Failure::new(Exit::Failed, format!("{}: {error}", path.display())),
    })?;
    tell(&format!(
        "wrote {}; you can run with none of it changed. Next:\n  export DROPREEL_PROVIDER__API_KEY=...\n  dropreel serve",
        term::plain(&path.display().to_string())
    ));
    Ok(Exit::Done)
}

/// `completions`
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "dropreel", &mut text);
    put(&text)?;
    Ok(Exit::Done)
}

/// `man`
pub(super) fn man(command: Option<&str>, dir: Option<&Path>) -> Result<Exit, Failure> {
    let mut program = CommandLine::command();
    program.build();
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)?;
        let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands.chain([&program]) {
            let name = command.get_display_name().unwrap_or("dropreel");
            std::fs::write(dir.join(format!("{name}.1")), page(command.clone())?)?;
        }
        return Ok(Exit::Done);
    }
    let wanted = match command {
        None => program,
        Some(name) => {
            let known = program.find_subcommand(name).cloned();
            known.ok_or_else(|| {
                Failure::new(Exit::Usage, format!("there is no command `{name}`; see --help"))
            })?
        }
    };
    put(&page(wanted)?)?;
    Ok(Exit::Done)
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command).manual("dropreel manual");
    page.source(concat!("dropreel ", env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    Ok(text)
}
