//! Which errors concern the account and not the one request, in the words of several services
//! (docs/provider.md#errors). None of them proves it: only a neutral call does, see [`crate::provider::gate`].

use crate::job::suspension::SuspensionCause;
use crate::provider::wire::error::ProviderError;

/// Codes that mean that the balance does not pay, without case and punctuation.
const NO_FUNDS: [&str; 16] = [
    "insufficientquota",
    "insufficientuserquota",
    "insufficientbalance",
    "insufficientcredit",
    "insufficientcredits",
    "insufficientfunds",
    "creditinsufficient",
    "balancenotenough",
    "notenoughbalance",
    "preconsumetokenquotafailed",
    "quotaexceeded",
    "quotanotenough",
    "arrearage",
    "accountoverdue",
    "accountoverdueerror",
    "billinghardlimitreached",
];
/// Parts of messages that mean the same.
const NO_FUNDS_TEXTS: [&str; 8] = [
    "insufficient balance",
    "insufficient quota",
    "insufficient credit",
    "quota is not enough",
    "account is in good standing",
    "余额不足",
    "额度不足",
    "欠费",
];
/// Codes that mean that the key is refused, without case and punctuation.
const NO_KEY: [&str; 5] =
    ["invalidapikey", "incorrectapikey", "apikeyinvalid", "authenticationerror", "unauthenticated"];

/// The cause for which the error would suspend calls, if it concerned the account. Its words for people count only where
/// `is_client_error`: with another status they may be quoted from elsewhere, and the call may have been executed.
pub(crate) fn cause_of(error: &ProviderError, is_client_error: bool) -> Option<SuspensionCause> {
    let codes: Vec<String> =
        [&error.code, &error.kind].into_iter().flatten().map(|code| plain(code)).collect();
    let is_one_of = |known: &[&str]| codes.iter().any(|code| known.contains(&code.as_str()));
    let message = error.message.to_lowercase();
    let says_so = is_client_error && NO_FUNDS_TEXTS.iter().any(|text| message.contains(text));
    if is_one_of(&NO_FUNDS) || says_so {
        return Some(SuspensionCause::BalanceEmpty);
    }
    is_one_of(&NO_KEY).then_some(SuspensionCause::KeyRefused)
}

fn plain(code: &str) -> String {
    code.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
