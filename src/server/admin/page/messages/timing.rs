//! The texts about times and places at the provider, in both languages.

/// In one language.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server::admin) struct TimingMessages {
    /// With `{range}`.
    pub usually: &'static str,
    pub unusually_long: &'static str,
    /// For people who do not see that a bar is an estimate.
    pub estimated_progress: &'static str,
    /// Before a time, and after it.
    pub waits_until: &'static str,
    pub waits_until_end: &'static str,
    /// With `{running}` and `{max}`.
    pub slots: &'static str,
    /// With `{n}`: jobs with a time, before the nearest time.
    pub scheduled: &'static str,
    pub one_scheduled: &'static str,
    pub models: &'static str,
    pub in_use: &'static str,
    /// With `{n}`.
    pub last_hours: &'static str,
    /// With `{succeeded}` and `{ended}`.
    pub share: &'static str,
    /// Follows the share of a part of the tasks, with `{n}`.
    pub of_newest: &'static str,
    pub pause_updates: &'static str,
    pub resume_updates: &'static str,
    /// With `{time}`.
    pub updates_paused: &'static str,
}

#[rustfmt::skip]
pub(super) const TIMING_ENGLISH: TimingMessages = TimingMessages {
    usually: "usually {range}",
    unusually_long: "unusually long",
    estimated_progress: "Estimated progress",
    waits_until: "waits until ",
    waits_until_end: "",
    slots: "{running} of {max} slots",
    scheduled: "{n} later, the next on ",
    one_scheduled: "1 on ",
    models: "Models",
    in_use: "In use",
    last_hours: "{n} h",
    share: "{succeeded} of {ended} succeeded",
    of_newest: ", of the newest {n} tasks",
    pause_updates: "Pause updates",
    resume_updates: "Resume updates",
    updates_paused: "Updates paused; this page is {time} old",
};

#[rustfmt::skip]
pub(super) const TIMING_CHINESE: TimingMessages = TimingMessages {
    usually: "通常 {range}",
    unusually_long: "耗时异常",
    estimated_progress: "估计进度",
    waits_until: "等到 ",
    waits_until_end: " 再提交",
    slots: "{max} 个名额已用 {running} 个",
    scheduled: "{n} 个定时，最近一个在 ",
    one_scheduled: "1 个定时在 ",
    models: "模型",
    in_use: "占用",
    last_hours: "{n} 小时",
    share: "{ended} 个中成功 {succeeded} 个",
    of_newest: "（仅统计最近 {n} 个任务）",
    pause_updates: "暂停更新",
    resume_updates: "恢复更新",
    updates_paused: "已暂停更新，本页是 {time}前的",
};
