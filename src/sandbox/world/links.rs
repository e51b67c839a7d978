//! Download links: issued, opened, expired.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::sandbox::clip;
use crate::sandbox::fault_plan::FaultPlan;
use crate::sandbox::faults::{EtagKind, ExpiredLink, LinkPolicy, YesNo};
use crate::sandbox::http_types::{Request, Response};
use crate::sandbox::ledger::LinkEntry;
use crate::sandbox::media_server;
use crate::sandbox::plan_value::PlanValue as _;
use crate::sandbox::responses;
use crate::sandbox::task_json::ResultLink;
use crate::sandbox::world::{CallKey, Exchange, Link, World};
use crate::sha256::sha256_hex;

/// How long the first generation's links are valid.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long after the end of a task the newest generation keeps its files.
const FILE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

impl World {
    /// The link of a file: the one it has, or a new one if it has none or the plan wants a fresh one.
    pub(super) fn link(
        &mut self,
        number: usize,
        index: usize,
        plan: &FaultPlan,
        now: Timestamp,
    ) -> Option<ResultLink> {
        let task = self.tasks.get_mut(number)?;
        let new_generation = task.new_generation;
        let usual = if new_generation { FILE_LIFETIME } else { LINK_LIFETIME };
        let lifetime = plan.link.unwrap_or(usual);
        let file = task.files.get_mut(index)?;
        let known = file.link.as_ref().and_then(|sig| Some((sig.clone(), self.links.get(sig)?.expires)));
        let path = format!("/output/{}?sig=", file.name);
        let kept = known.filter(|(_, expires)| match plan.links.as_ref().unwrap_or(&LinkPolicy::Renew) {
            LinkPolicy::Same => true,
            // A file that is deleted has no fresh link.
            LinkPolicy::Renew => new_generation || now < *expires,
            LinkPolicy::Fresh => false,
        });
        let (sig, expires) = match kept {
            Some(kept) => kept,
            None => {
                // The first link is valid from the end of the task on, whenever a status query asks for it.
                let ended = task.ended.unwrap_or(now);
                let issued = if file.link.is_none() { ended } else { now };
                let expires = if new_generation { ended } else { issued }.plus(lifetime);
                let seed = format!("{} {} {}", self.options.seed, file.name, self.ledger.links.len());
                let sig = sha256_hex(seed.as_bytes())[..40].to_owned();
                file.link = Some(sig.clone());
                self.links.insert(sig.clone(), Link { task: number, file: index, expires });
                let (task_id, link) = (task.id.clone(), format!("{path}{sig}"));
                self.ledger.links.push(LinkEntry { task_id, link, issued_at: issued, expires_at: expires });
                (sig, expires)
            }
        };
        let elsewhere = plan.media_host.as_ref().filter(|_| is_concerned(plan, index));
        let elsewhere = elsewhere.map(|host| format!("http://{}", host.0));
        let base_url = elsewhere.as_ref().unwrap_or(&self.base_url);
        Some(ResultLink { url: format!("{base_url}{path}{sig}"), expires })
    }

    /// A download. `moved`: the client followed a redirect of this server, which leads to the file without a fault.
    pub(super) fn media(&mut self, request: &Request, name: &str, moved: bool, now: Timestamp) -> Exchange {
        let query = request.query.expose();
        let sig = query.split('&').find_map(|pair| pair.strip_prefix("sig=")).unwrap_or_default();
        let Some(link) = self.links.get(sig).cloned() else {
            return responses::error(403, "bad_signature", "this link was never issued", None).into();
        };
        let plan = self.effective_plan(link.task);
        let Some(task) = self.tasks.get(link.task) else { return responses::no_response().into() };
        let Some(file) = task.files.get(link.file).filter(|file| file.name == name).cloned() else {
            return responses::error(403, "bad_signature", "this link is another file's", None).into();
        };
        let refuse = |response: Response| Exchange { task: Some(link.task), ..response.into() };
        if plan.media_key == Some(YesNo::Yes) && !self.is_authorized(request) {
            return refuse(media_server::key_required());
        }
        if now >= link.expires {
            let usual = if task.new_generation { ExpiredLink::NotFound } else { ExpiredLink::Forbidden };
            let status = match plan.expired.as_ref().unwrap_or(&usual) {
                ExpiredLink::Forbidden => 403,
                ExpiredLink::BadRequest => 400,
                ExpiredLink::NotFound => 404,
                ExpiredLink::Gone => 410,
            };
            return refuse(responses::error(status, "link_expired", "the link has expired", None));
        }
        if let (Some(ready), Some(ended)) = (plan.ready, task.ended)
            && now < ended.plus(ready)
        {
            return refuse(responses::error(404, "not_ready", "the file is not ready yet", None));
        }
        let prompt_schedule = task.prompt_plan.media.clone();
        let run_schedule = self.plan.media.clone();
        let fault = if moved || !is_concerned(&plan, link.file) {
            None
        } else {
            self.next_fault("media", name, &prompt_schedule, &run_schedule)
        };
        let version = match plan.etag {
            Some(EtagKind::Changes) => {
                self.count_call(CallKey { from_prompt: true, call: "version", subject: name.to_owned() })
            }
            _ => 0,
        };
        let (_, media_type) = clip::extension_and_type(&file.kind);
        let response = media_server::serve(&file.clip(version), media_type, request, &plan, fault.as_ref());
        Exchange { response, task: Some(link.task), fault: fault.map(|fault| fault.to_text()) }
    }
}

/// Whether the faults of downloads concern this output.
fn is_concerned(plan: &FaultPlan, index: usize) -> bool {
    plan.media_output.is_none_or(|only| usize::try_from(only) == Ok(index))
}
