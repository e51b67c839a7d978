//! `rotate`: a new callback secret.

use crate::cli::args::RotatableSecret;
use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::terminal::{print_json, print_line};

/// `rotate`
pub(crate) async fn rotate(context: &Context, secret: RotatableSecret) -> Result<Exit, CliError> {
    let RotatableSecret::CallbackSecret = secret;
    let result = context.client()?.rotate_callback_secret().await?;
    if context.json {
        print_json(&result)?;
    } else {
        print_line("callback secret rotated; addresses signed with the last three secrets stay valid")?;
    }
    Ok(Exit::Done)
}
