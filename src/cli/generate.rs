//! `init`, `completions`, `man`: files generated for people to keep.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use clap::CommandFactory;

use crate::cli::args::{CommandLine, InitArgs};
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::format::printable;
use crate::cli::terminal::{eprint_line, print_bytes, print_json};
use crate::settings::DEFAULT_CONFIG;

/// `init`
pub(crate) fn init(context: &Context, args: &InitArgs) -> Result<Exit, CliError> {
    let path = args.output.display();
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(&args.output).and_then(|mut file| file.write_all(DEFAULT_CONFIG.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CliError::failed(format!("{path} exists; --force replaces it")),
        _ => CliError::failed(format!("{path}: {error}")),
    })?;
    eprint_line(&format!(
        "wrote {}; every value in it is a default. Next:\n  export DROPREEL_PROVIDER__API_KEY=...\n  dropreel serve",
        printable(&path.to_string())
    ));
    if context.json {
        print_json(&serde_json::json!({"file": args.output}))?;
    }
    Ok(Exit::Done)
}

/// `completions`
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "dropreel", &mut text);
    print_bytes(&text)?;
    Ok(Exit::Done)
}

/// `man`
pub(crate) fn man(command: Option<&str>, dir: Option<&Path>) -> Result<Exit, CliError> {
    let mut program = CommandLine::command();
    program.build();
    if let Some(dir) = dir {
        std::fs::create_dir_all(dir)?;
        let commands = program.get_subcommands().filter(|command| command.get_name() != "help");
        for command in commands.chain([&program]) {
            let name = command.get_display_name().unwrap_or("dropreel");
            std::fs::write(dir.join(format!("{name}.1")), man_page(command.clone())?)?;
        }
        return Ok(Exit::Done);
    }
    let command = match command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            found.ok_or_else(|| CliError::usage(format!("there is no command `{name}`; see --help")))?
        }
    };
    print_bytes(&man_page(command)?)?;
    Ok(Exit::Done)
}

fn man_page(command: clap::Command) -> Result<Vec<u8>, CliError> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command).manual("dropreel manual");
    page.source(concat!("dropreel ", env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    Ok(text)
}
