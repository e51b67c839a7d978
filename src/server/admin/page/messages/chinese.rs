//! The page in Chinese.

use crate::job::event::OperatorAction;
use crate::job::history::HistoryEvent;
use crate::job::hold::HoldReason;
use crate::job::notification::JobNotification;
use crate::job::state::StateName;
use crate::server::admin::page::messages::Messages;

#[rustfmt::skip]
pub(in crate::server::admin::page) const CHINESE: Messages = Messages {
    states: ["等待中", "提交中", "排队中", "生成中", "下载中", "成功", "失败", "已取消", "已过期", "需人工处理"],
    lang: "zh",
    other_lang: "en",
    other_language: "English",
    colon: "：",
    overview: "概览",
    jobs: "任务",
    search: "搜索任务",
    search_hint: "名称、提示词或服务商任务 ID",
    skip: "跳到正文",
    new_job: "新建任务",
    menu: "菜单",
    live: "实时",
    disconnected: "{time} 起已断开，正在重连",
    submits_paused: "提交已暂停",
    submits_suspended: "提交已中止",
    calls_suspended: "对服务商的调用已中止",
    downloads_paused: "下载已暂停",
    waits_until: "等到 {time} 再提交",
    try_now: "立即尝试",
    ask_try_now: "现在就尝试连接服务商？先发一次调用确认是否恢复，恢复后任务会继续。手动暂停的操作保持暂停。",
    trust_clock: "时钟正确",
    ask_trust_clock: "本机的时钟现在正确吗？确认后会继续提交。如果时钟不对，旧的提交可能会重发并重复计费。",
    no_try: "不尝试",
    needs_attention: "需要处理",
    all_well: "没有需要处理的事项。",
    system: "系统",
    more_held: "还有 {n} 个任务需人工处理",
    running: "进行中",
    waiting: "{n} 个等待中",
    none_running: "没有正在进行的任务。",
    newest: "最新视频",
    no_videos: "还没有视频。请把任务文件放入",
    no_videos_or: "，或拖到本页。",
    spent_day: "近 24 小时花费 {cost}",
    link_expires: "链接 ",
    link_expired: "链接 ",
    link_expires_end: "失效",
    progress: "进度",
    play: "播放",
    state: "状态",
    any_state: "全部状态",
    label: "标签",
    label_hint: "project=spring",
    filter: "筛选",
    clear: "清除筛选",
    none_match: "没有符合条件的任务。",
    no_jobs: "还没有任务。",
    older: "更早的任务",
    back_to_newest: "最新的任务",
    pause_submits: "暂停提交",
    pause_downloads: "暂停下载",
    resume: "恢复",
    ask_pause_submits: "暂停提交？已提交给服务商的任务会继续运行。",
    ask_pause_downloads: "暂停下载？链接在任务完成 24 小时后失效。",
    ask_resume: "恢复所有已暂停的操作？",
    pause: "暂停",
    no_pause: "不暂停",
    no_resume: "保持暂停",
    cancel: "取消",
    retry: "重试",
    release: "放行",
    cancel_all: "全部取消",
    retry_all: "全部重试",
    release_all: "全部放行",
    confirm_cancel: "取消任务",
    about_cost: "{label}（约 {cost}）",
    no_cancel: "不取消",
    no_retry: "不重试",
    no_release: "不放行",
    ask_retry: "重试 {name}？它会作为新的服务商任务提交，可能再次计费。",
    ask_retry_cost: "重试 {name}？它会作为新的服务商任务提交，可能再次计费，上次花费 {cost}。",
    ask_release: "放行 {name}？不会再次计费。",
    ask_release_may_pay: "放行 {name}？可能会重复计费，请先在服务商的任务列表中确认。",
    ask_cancel_held: "取消 {name}？服务商已收取的费用不会退还。",
    ask_cancel_pending: "取消 {name}？它尚未提交，不会计费。",
    ask_cancel_downloading: "取消 {name}？任务已完成并已计费；尚未保存的文件将被放弃。",
    ask_cancel_running: "取消 {name}？只有尚未开始的任务，服务商才会取消并退款。",
    ask_retry_all: "重试 {jobs}？每个任务都可能再次计费。",
    last_cost: "上次合计花费 {cost}。",
    ask_release_all: "放行 {jobs}？结果未知的任务可能会重复计费。",
    ask_cancel_all: "取消 {jobs}？服务商只能取消尚未开始的任务。",
    one_job: "1 个任务",
    n_jobs: "{n} 个任务",
    added: "已添加 {jobs}",
    retried: "已重新提交 {jobs}",
    released: "已放行 {jobs}",
    cancelled: "已请求取消 {jobs}",
    rejected: "{jobs}未能执行",
    close: "关闭",
    request_failed: "操作失败",
    unreachable: "无法连接后台服务。",
    drop_here: "把任务文件拖到这里",
    paste_json: "粘贴 JSON：单个任务、数组，或每行一个对象",
    choose_file: "或选择文件",
    submit: "提交",
    submit_costs: "服务商会对每个任务计费。",
    at_line: "第 {line} 行第 {column} 列",
    outputs: "输出文件",
    no_outputs: "还没有已保存的文件。",
    request: "请求内容",
    history: "历史记录",
    details: "详情",
    model: "模型",
    cost: "费用",
    task: "服务商任务",
    id: "ID",
    created: "创建时间",
    submitted: "提交时间",
    completed: "生成完成",
    finished: "结束时间",
    labels: "标签",
    same_file: "同一文件中的任务",
    hooks: "钩子",
    next_attempt: "下次尝试",
    from_host: "来自",
    quota: "额度",
    no_such_job: "没有这个任务",
    ambiguous_job: "有多个任务符合",
    invalid_request: "请求无效",
    failed: "出错了",
    back_to_overview: "返回概览",
    scripts_off: "未启用 JavaScript：本页只显示加载时的状态，也没有操作按钮。请使用命令行，参见 `dropreel --help`。",
    unit_s: " 秒",
    unit_min: " 分钟",
    unit_h: " 小时",
    unit_d: " 天",
    in_before: "",
    in_after: "后",
    ago: "前",
    just_now: "刚刚",
    left_before: "约剩 ",
    left_after: "",
};

pub(super) const fn history_event(event: HistoryEvent) -> &'static str {
    match event {
        HistoryEvent::Accepted => "已接收",
        HistoryEvent::Submitting => "正在提交",
        HistoryEvent::SubmitNotExecuted => "提交未执行",
        HistoryEvent::SubmitOutcomeUnknown => "提交结果未知",
        HistoryEvent::Submitted => "已提交",
        HistoryEvent::Processing => "开始生成",
        HistoryEvent::CallbackReceived => "收到回调",
        HistoryEvent::TaskMissing => "服务商没有这个任务",
        HistoryEvent::TaskFound => "服务商重新找到任务",
        HistoryEvent::TaskFinished => "任务已结束",
        HistoryEvent::Completed => "生成完成",
        HistoryEvent::LinkRefused => "链接被拒绝",
        HistoryEvent::LinkExpired => "链接已失效",
        HistoryEvent::Expiring => "链接即将失效",
        HistoryEvent::Quarantined => "已隔离",
        HistoryEvent::Stored => "已保存",
        HistoryEvent::CancelRequested => "已请求取消",
        HistoryEvent::CancelAccepted => "取消已受理",
        HistoryEvent::CancelRefused => "取消被拒绝",
        HistoryEvent::CancelAbandoned => "已放弃取消",
        HistoryEvent::Held => "需人工处理",
        HistoryEvent::Released => "已放行",
        HistoryEvent::Retried => "已重试",
        HistoryEvent::Ignored => "已忽略",
        HistoryEvent::Succeeded => "成功",
        HistoryEvent::Failed => "失败",
        HistoryEvent::Cancelled => "已取消",
        HistoryEvent::Expired => "已过期",
    }
}

pub(super) const fn notification(event: JobNotification) -> &'static str {
    match event {
        JobNotification::Succeeded => "成功",
        JobNotification::Failed => "失败",
        JobNotification::Held => "需人工处理",
        JobNotification::Expiring => "链接即将失效",
        JobNotification::Expired => "已过期",
        JobNotification::Cancelled => "已取消",
        JobNotification::CallbacksMissing => "收不到回调",
    }
}

pub(super) const fn hold_reason(reason: HoldReason) -> &'static str {
    match reason {
        HoldReason::OutcomeUnknown => "提交结果未知，且幂等键已过期，不能再次发送",
        HoldReason::ErrorReplayed => "每次重复提交，服务商都返回同一个错误",
        HoldReason::DuplicateTask => "服务商返回的任务已属于另一个任务",
        HoldReason::SubmitBlocked => "防火墙等中间环节拒绝提交已超过 20 分钟",
        HoldReason::SubmitFailing => "两小时内提交始终未成功",
        HoldReason::StatusUnreadable => "两小时内任务状态的回复始终无法读取；仍每 15 分钟查询一次",
        HoldReason::OutputUnreachable => "输出文件未能及时下载；仍每 15 分钟重试一次",
        HoldReason::DatabaseRestored => "数据库由较早的备份恢复，此任务可能已经提交过",
        HoldReason::TimedOut => "任务未按时完成，仍每 15 分钟查询一次",
        HoldReason::TaskMissing => "服务商已没有这个任务",
        HoldReason::NoOutput => "任务已完成，但没有任何输出文件",
        HoldReason::AddressForbidden => "链接指向不允许访问的地址",
        HoldReason::HostNotAllowed => "链接的主机不在 `downloads.hosts` 中",
        HoldReason::PlainHttpForbidden => "链接使用 `http:`，而 `downloads.plain_http` 已关闭",
        HoldReason::LinkUnusable => "链接不是可以下载的地址",
        HoldReason::FileTooLarge => "文件超过 `downloads.max_bytes`",
        HoldReason::InvalidOutput => "链接返回的不是预期的媒体文件",
    }
}

/// The answers of the state machine to actions, in English and Chinese.
pub(super) const ACTIONS_DONE: &[(&str, &str)] = &[
    (
        "being submitted; it is cancelled at the provider once its task is known; cancel it again to give it up now",
        "正在提交，得知服务商任务后即向服务商取消；再次取消则立即放弃",
    ),
    (
        "given up while the outcome of its submit was unknown; it may have been billed",
        "已放弃；提交结果未知，可能已经计费",
    ),
    ("given up: the provider does not know the task", "已放弃：服务商没有这个任务"),
    ("given up: the provider does not answer about its task", "已放弃：服务商没有回复任务状态"),
    ("given up before it was stored; the provider has billed it", "已放弃，文件尚未保存；服务商已经计费"),
    ("cancelled before it was submitted", "已在提交前取消"),
    (
        "cancellation requested; if the task has already started, it finishes and is billed",
        "已请求取消；如果任务已经开始，则会继续完成并计费",
    ),
    ("submitted again under a new key; it may be billed again", "已用新的幂等键重新提交，可能再次计费"),
    ("the same submit is repeated under the same key, and billed once", "用同一个幂等键重复提交，只计费一次"),
    ("it continues where it stopped", "任务从中断处继续"),
];

pub(super) fn action_done(message: &str) -> Option<&'static str> {
    ACTIONS_DONE.iter().find(|(english, _)| *english == message).map(|(_, chinese)| *chinese)
}

pub(super) fn action_rejected(action: OperatorAction, state: StateName) -> String {
    let state_text = CHINESE.state(state);
    match (action, state) {
        (OperatorAction::Cancel, _) => format!("不能取消：任务的状态是“{state_text}”"),
        (OperatorAction::Retry, StateName::Succeeded) => {
            "任务已成功；如需再生成一个，请在任务文件中设置 `again` 后重新放入".to_owned()
        }
        (OperatorAction::Retry, _) => format!("无需重试：任务的状态是“{state_text}”，会自动继续"),
        (OperatorAction::Release, StateName::Held) => {
            "幂等键已过期，不能再次发送；请先在服务商处查找任务，如果没有，再重试：会用新的幂等键提交，可能重复计费".to_owned()
        }
        (OperatorAction::Release, _) => format!("无需放行：任务的状态是“{state_text}”"),
    }
}
