//! The man pages and completions as files below `docs/`, from the arguments that `--help` prints.

use std::collections::BTreeMap;
use std::io;

use clap::Command;
use clap_complete::Shell;

/// Each file's path below `docs/` with what it holds.
///
/// # Errors
/// What rendering says.
pub(crate) fn all() -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut command = postern::cli::command().disable_help_subcommand(true);
    command.build();
    for (shell, name) in [
        (Shell::Bash, "postern.bash"),
        (Shell::Fish, "postern.fish"),
        (Shell::Zsh, "_postern"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), "postern", &mut text);
        files.insert(format!("completions/{name}"), text);
    }
    manual(&command, &mut files)?;
    Ok(files)
}

/// The page of a command, and those of its subcommands.
fn manual(command: &Command, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let page = clap_mangen::Man::new(command.clone()).section("8");
    let mut text = Vec::new();
    page.render(&mut text)?;
    files.insert(format!("man/{}", page.get_filename()), text);
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown.into_iter().try_for_each(|sub| manual(sub, files))
}
