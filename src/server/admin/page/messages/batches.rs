//! The texts about batches and about what needs a person, in both languages.

use crate::job::needs::Effect;
use crate::server::admin::page::messages::Messages;

/// These texts in one language.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server::admin) struct BatchMessages {
    pub batches: &'static str,
    pub all: &'static str,
    pub none_yet: &'static str,
    /// The name of a batch that had no file, with `{id}`.
    pub unnamed: &'static str,
    /// With `{ended}` and `{jobs}`.
    pub progress: &'static str,
    pub cost: &'static str,
    /// With `{cost}` and `{estimate}`.
    pub cost_of_about: &'static str,
    pub free: &'static str,
    pub about: &'static str,
    /// With `{does}` and `{cost}`: what a button does and costs.
    pub effect: &'static str,
    pub retry_failed: &'static str,
    pub cancel_rest: &'static str,
    pub videos: &'static str,
    pub jobs: &'static str,
    /// With `{n}` and `{cause}`.
    pub times: &'static str,
    pub show_all: &'static str,
    pub newest: &'static str,
    /// With `{n}`: further groups that are not shown.
    pub more_groups: &'static str,
    /// On the page of a job whose downloads were rejected, or about which the provider answered what cannot be used.
    pub quarantined: &'static str,
    pub evidence: &'static str,
    pub unusable: &'static str,
    pub answer: &'static str,
    pub download: &'static str,
    pub not_opened: &'static str,
    effects: [&'static str; 8],
}

impl Messages {
    /// What a button does.
    pub(in crate::server::admin::page) fn effect(&self, effect: Effect) -> &'static str {
        let index = Effect::ALL.iter().position(|one| *one == effect);
        index.and_then(|index| self.batches.effects.get(index)).copied().unwrap_or_default()
    }
}

#[rustfmt::skip]
pub(super) const BATCH_ENGLISH: BatchMessages = BatchMessages {
    batches: "Batches",
    all: "All batches",
    none_yet: "No job file yet.",
    unnamed: "Jobs without a file ({id})",
    progress: "{ended} of {jobs}",
    cost: "{cost}",
    cost_of_about: "{cost} of about {estimate}",
    free: "free",
    about: "about {cost}",
    effect: "{does}, {cost}",
    retry_failed: "Retry the failed",
    cancel_rest: "Cancel the rest",
    videos: "Videos",
    jobs: "Jobs",
    times: "{n} × {cause}",
    show_all: "Show all {n}",
    newest: "newest:",
    more_groups: "{n} more jobs need you",
    quarantined: "In quarantine",
    evidence: "What the host answered",
    unusable: "The latest answer of the provider about this job that could not be used.",
    answer: "What the provider answered",
    download: "Download as a file",
    not_opened: "Not what it should be. Do not open it unless you trust the host.",
    effects: ["new task", "submits it", "same submit, billed once", "polls again", "downloads again", "gives it up", "off this list", "back on this list"],
};

#[rustfmt::skip]
pub(super) const BATCH_CHINESE: BatchMessages = BatchMessages {
    batches: "批次",
    all: "全部批次",
    none_yet: "还没有任务文件。",
    unnamed: "无文件的任务（{id}）",
    progress: "{ended} / {jobs}",
    cost: "{cost}",
    cost_of_about: "{cost}，预计共约 {estimate}",
    free: "免费",
    about: "约 {cost}",
    effect: "{does}，{cost}",
    retry_failed: "重试失败的任务",
    cancel_rest: "取消其余任务",
    videos: "视频",
    jobs: "任务",
    times: "{n} × {cause}",
    show_all: "查看全部 {n} 个",
    newest: "最新：",
    more_groups: "另有 {n} 个任务需要处理",
    quarantined: "已隔离",
    evidence: "主机的应答",
    unusable: "服务商对此任务的最近一次无法使用的应答。",
    answer: "服务商的应答",
    download: "下载为文件",
    not_opened: "不是应有的内容。除非信任该主机，否则不要打开。",
    effects: ["新任务", "提交", "重复同一次提交，只计费一次", "再次查询", "重新下载", "放弃", "移出此列表", "移回此列表"],
};
