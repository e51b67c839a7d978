//! What buttons do and cost, as far as their labels do not say it.

use crate::job::Job;
use crate::job::event::OperatorAction;
use crate::job::needs::effect;
use crate::money::Quota;
use crate::server::admin::page::messages::Messages;

/// Of an action on this job, or on several like it that cost `cost` in all: "about $73", "downloads again, free".
pub(super) fn effect_text(m: &Messages, job: &Job, action: OperatorAction, cost: Quota) -> String {
    let (effect, t) = (effect(job, action), m.batches);
    let cost = if effect.is_billed() { about(m, cost) } else { t.free.to_owned() };
    match action {
        // Billed, at a price that is not known.
        OperatorAction::Release if cost.is_empty() => m.effect(effect).to_owned(),
        OperatorAction::Release => t.effect.replace("{does}", m.effect(effect)).replace("{cost}", &cost),
        OperatorAction::Retry => cost,
        OperatorAction::Cancel | OperatorAction::Dismiss | OperatorAction::Undismiss => String::new(),
    }
}

/// "about $0.75"; empty if nothing is known.
pub(super) fn about(m: &Messages, cost: Quota) -> String {
    if cost > Quota::ZERO { m.batches.about.replace("{cost}", &cost.to_string()) } else { String::new() }
}
