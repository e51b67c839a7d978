//! Links: handed out, opened, dead.

use crate::clock::Timestamp;
use crate::sandbox::answers::{self, Shown};
use crate::sandbox::clip;
use crate::sandbox::exchange::{Answer, Request};
use crate::sandbox::faults::{Etag, Expired, Flag, Links};
use crate::sandbox::ledger::LinkEntry;
use crate::sandbox::media_server;
use crate::sandbox::plan::Plan;
use crate::sandbox::value::Value as _;
use crate::sandbox::world::{Handled, Link, Tried, World};
use crate::sha256::sha256_hex;

impl World {
    /// The link of a file: the one it has, or a new one if there is none or the plan wants it fresh.
    pub(super) fn link(&mut self, number: usize, index: usize, plan: &Plan, now: Timestamp) -> Option<Shown> {
        let life = plan.link.unwrap_or(self.options.link_life);
        let task = self.tasks.get_mut(number)?;
        let file = task.files.get_mut(index)?;
        let known = file.link.as_ref().and_then(|sig| Some((sig.clone(), self.links.get(sig)?.expires)));
        let path = format!("/output/{}?sig=", file.name);
        let kept = known.filter(|(_, expires)| match plan.links.as_ref().unwrap_or(&Links::Renew) {
            Links::Same => true,
            Links::Renew => now < *expires,
            Links::Fresh => false,
        });
        let (sig, expires) = match kept {
            Some(kept) => kept,
            None => {
                // The first link lives from the end of the task on, whenever it is asked for.
                let issued = if file.link.is_none() { task.ended.unwrap_or(now) } else { now };
                let expires = issued.plus(life);
                let seed = format!("{} {} {}", self.options.seed, file.name, self.ledger.links.len());
                let sig = sha256_hex(seed.as_bytes())[..40].to_owned();
                file.link = Some(sig.clone());
                self.links.insert(sig.clone(), Link { task: number, file: index, expires });
                let (task_id, link) = (task.id.clone(), format!("{path}{sig}"));
                self.ledger.links.push(LinkEntry { task_id, link, issued_at: issued, expires_at: expires });
                (sig, expires)
            }
        };
        Some(Shown { url: format!("{}{path}{sig}", self.base_url), expires })
    }

    pub(super) fn media(&mut self, request: &Request, name: &str, moved: bool, now: Timestamp) -> Handled {
        let sig =
            request.query.expose().split('&').find_map(|pair| pair.strip_prefix("sig=")).unwrap_or_default();
        let Some(link) = self.links.get(sig).cloned() else {
            return answers::error(403, "bad_signature", "this link was never handed out", None).into();
        };
        let plan = self.plan_of(link.task);
        let Some(task) = self.tasks.get(link.task) else { return answers::nothing().into() };
        let Some(file) = task.files.get(link.file).filter(|file| file.name == name).cloned() else {
            return answers::error(403, "bad_signature", "this link is another file's", None).into();
        };
        let about = |answer: Answer| Handled { task: Some(link.task), ..answer.into() };
        if plan.media_key == Some(Flag::Yes) && !self.is_let_in(request) {
            return about(media_server::key_wanted());
        }
        if now >= link.expires {
            let status = match plan.expired.as_ref().unwrap_or(&Expired::Forbidden) {
                Expired::Forbidden => 403,
                Expired::BadRequest => 400,
                Expired::NotFound => 404,
                Expired::Gone => 410,
            };
            return about(answers::error(status, "link_expired", "the link has expired", None));
        }
        if let (Some(ready), Some(ended)) = (plan.ready, task.ended)
            && now < ended.plus(ready)
        {
            return about(answers::error(404, "not_ready", "the file is not ready yet", None));
        }
        let own = task.own.media.clone();
        let run = self.plan.media.clone();
        let fault = if moved { None } else { self.strike("media", name, &own, &run) };
        let version = match plan.etag {
            Some(Etag::Changes) => {
                let tried = Tried { own: true, call: "version", about: name.to_owned() };
                let versions = self.tries.entry(tried).or_default();
                *versions += 1;
                *versions - 1
            }
            _ => 0,
        };
        let (_, media_type) = clip::names(&file.kind);
        let answer = media_server::serve(&file.film(version), media_type, request, &plan, fault.as_ref());
        Handled { answer, task: Some(link.task), fault: fault.map(|fault| fault.show()) }
    }
}
